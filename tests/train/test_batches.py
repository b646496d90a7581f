import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mu2net.errors import DataError
from mu2net.nn.backbone import Normalisation
from mu2net.train.augment import Pipeline
from mu2net.train.batches import SplitReader, TrainBatches, count_batches, evaluation_batches
from mu2net.train.compute import Compute

COMPUTE = Compute(torch.device("cpu"), "float32", "sdpa", Normalisation((0, 0, 0), (1, 1, 1)))
CROPPING = Pipeline(8, True, 0.2, 0.5, True)


class Numbers:
    """A split of which only the size matters."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.fingerprint = f"{count} images"

    def __len__(self) -> int:
        return self.count


def reader(split, pipeline: Pipeline = CROPPING) -> SplitReader:
    return SplitReader("train", split, pipeline, COMPUTE)


@given(st.integers(1, 60), st.integers(1, 70))
def test_epochs_follow_one_another_without_gap_or_repetition(count, batch_size):
    batches = TrainBatches(reader(Numbers(count)), batch_size, (0,))
    assert batches.batch_size == min(batch_size, count)
    steps = -(-2 * count // batches.batch_size)
    seen = np.concatenate([batches.batch(step).indices for step in range(steps)])
    assert sorted(seen[:count]) == list(range(count))
    assert sorted(seen[count : 2 * count]) == list(range(count))


def test_every_epoch_and_every_key_has_its_own_order():
    batches = TrainBatches(reader(Numbers(100)), 100, (0,))
    first, second = batches.batch(0).indices, batches.batch(1).indices
    other = TrainBatches(reader(Numbers(100)), 100, (1,)).batch(0).indices
    assert first.tolist() != sorted(first) != second.tolist()
    assert first.tolist() != second.tolist() != other.tolist() != first.tolist()


def test_a_batch_depends_on_its_number_alone(split):
    forwards = TrainBatches(reader(split(20, 0)), 6, (7, "task"))
    inputs = [forwards.batch(step).inputs for step in range(5)]
    again = TrainBatches(reader(split(20, 0)), 6, (7, "task"))
    assert torch.equal(again.batch(4).inputs, inputs[4])
    assert torch.equal(again.batch(1).inputs, inputs[1])


def test_images_are_augmented_anew_in_every_epoch(split):
    batches = TrainBatches(reader(split(6, 0)), 6, (0,))
    first, second = batches.batch(0), batches.batch(1)
    image = first.indices[0]
    assert not torch.equal(first.inputs[0], second.inputs[second.indices == image][0])


def test_a_batch_is_prepared_once_and_only_when_asked_for(split):
    images = split(6, 0)
    batch = TrainBatches(reader(images), 6, (0,)).batch(0)
    assert images.fetched == []
    assert batch.inputs is batch.inputs
    assert images.fetched == [12]  # the originals' side: more than the input, less than twice
    assert batch.labels.tolist() == images.labels[batch.indices].tolist()


@given(st.integers(1, 50), st.integers(1, 20))
def test_evaluation_covers_the_split_once_in_batches_of_one_shape(count, batch_size):
    one = reader(Numbers(count), Pipeline(8))
    batches = list(evaluation_batches(one, batch_size))
    assert {len(batch.indices) for batch in batches} == {batch_size}
    assert len(batches) == count_batches(one, batch_size)
    counted = np.concatenate([batch.indices[: batch.size] for batch in batches])
    assert counted.tolist() == list(range(count))


def test_a_capped_evaluation_always_draws_the_same_images():
    one = reader(Numbers(100), Pipeline(8))
    first, again = ([batch.indices.tolist() for batch in evaluation_batches(one, 4, 12)] for _ in range(2))
    assert first == again
    flat = [index for batch in first for index in batch]
    assert len(set(flat)) == 12
    assert flat == sorted(flat) != list(range(12))


def test_empty_splits_are_errors():
    with pytest.raises(DataError, match="training split is empty"):
        TrainBatches(reader(Numbers(0)), 4, (0,))
    with pytest.raises(DataError, match="train split is empty"):
        list(evaluation_batches(reader(Numbers(0)), 4))


def test_readers_that_give_other_images_have_other_descriptions(split):
    one, other = split(6, 0), split(6, 1)
    bfloat16 = Compute(torch.device("cpu"), "bfloat16", "explicit", COMPUTE.normalisation)
    readers = [
        reader(one),
        reader(other),
        reader(one, Pipeline(8)),
        reader(one, Pipeline(16)),
        SplitReader("train", one, CROPPING, bfloat16),
    ]
    assert len({each.canonical() for each in readers}) == 5
    assert reader(one).canonical() == reader(split(6, 0)).canonical()


def test_a_pool_is_the_beginning_of_the_first_epoch_whatever_its_size_and_group():
    everything = TrainBatches(reader(Numbers(40)), 8, (0, "a"), ("pool",))
    other = TrainBatches(reader(Numbers(40)), 8, (1, "b"), ("pool",)).limited(20)
    first = np.concatenate([everything.batch(step).indices for step in range(5)])
    assert sorted(first) == list(range(40))
    assert other.pool.tolist() == first[:20].tolist()
    seen = np.concatenate([other.batch(step).indices for step in range(5)])
    assert seen[:20].tolist() == first[:20].tolist()
    assert sorted(seen[20:]) == sorted(first[:20])
    assert seen[20:].tolist() != first[:20].tolist()


@pytest.mark.parametrize(("pool_key", "count"), [(None, 20), (("pool",), 7), (("pool",), 41)])
def test_an_impossible_pool_is_refused(pool_key, count):
    with pytest.raises(ValueError, match=rf"{count} of 40 images in batches of 8"):
        TrainBatches(reader(Numbers(40)), 8, (0,), pool_key, count)
