import numpy as np
import pytest
import torch

from mu2net.core.anatomy import HEAD
from mu2net.errors import DataError
from mu2net.nn.chain import build_chain
from mu2net.train.augment import Pipeline
from mu2net.train.compute import Compute
from mu2net.train.evaluate import count_correct, evaluate, predict_logits


@pytest.fixture
def chain(vit):
    components = [(slot, vit.random(slot, seed)) for seed, slot in enumerate(vit.anatomy.slots(3)[:-1])]
    head = {"weight": torch.randn(3, 16, generator=torch.Generator().manual_seed(0)), "bias": torch.zeros(3)}
    return build_chain(vit, [*components, (HEAD, head)])


@pytest.fixture
def compute(vit):
    return Compute.of(vit, torch.device("cpu"), "float32")


def images(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_logits_do_not_depend_on_how_many_images_follow(vit, chain, precision):
    compute = Compute.of(vit, torch.device("cpu"), precision)
    batch = images(11)
    logits = predict_logits(chain, batch, compute, batch_size=4)
    assert logits.shape == (11, 3)
    assert logits.dtype == torch.float32
    for count in (1, 4, 5, 10):
        assert torch.equal(predict_logits(chain, batch[:count], compute, batch_size=4), logits[:count])


def test_logits_are_those_of_the_network(chain, compute):
    batch = images(3)
    with torch.no_grad():
        expected = chain(compute.inputs(torch.from_numpy(batch)))
    assert torch.allclose(predict_logits(chain, batch, compute), expected, atol=1e-5)


def test_a_split_is_resized_and_never_augmented(chain, compute, split):
    validation = split(13, 0)
    augmenting = Pipeline(8, True, 0.05, 0.25, True, 0.2)
    seen = []
    found = evaluate(
        chain, validation, augmenting, compute, batch_size=5, on_batch=lambda done, total: seen.append((done, total))
    )
    assert validation.fetched[0] == 8
    pixels = validation.pixels(8)[np.arange(13)]
    assert torch.equal(found.logits, predict_logits(chain, pixels, compute, batch_size=5))
    assert found.labels.tolist() == validation.labels.tolist()
    assert found.accuracy == sum(found.logits.argmax(1) == found.labels).item() / 13
    assert seen == [(5, 13), (10, 13), (13, 13)]


def test_a_cap_limits_the_images(chain, compute, split):
    found = evaluate(chain, split(13, 0), Pipeline(8), compute, batch_size=5, max_examples=7)
    assert found.logits.shape == (7, 3)


def test_logits_that_are_not_finite_count_as_wrong():
    logits = torch.tensor([[1.0, 0.0], [float("nan"), 0.0], [float("inf"), 0.0], [0.0, 1.0]])
    assert count_correct(logits, torch.tensor([0, 0, 0, 0])) == 1


@pytest.mark.parametrize(
    "bad", [images(2).astype(np.float32), images(2)[..., 0], images(2)[:, :4], np.zeros((2, 8, 8, 4), np.uint8)]
)
def test_images_of_another_form_are_errors(chain, compute, bad):
    with pytest.raises(DataError, match="expected uint8 of shape"):
        predict_logits(chain, bad, compute)


def test_no_image_is_an_error(chain, compute, split):
    with pytest.raises(DataError, match="no image to predict"):
        predict_logits(chain, images(0), compute)
    with pytest.raises(DataError, match="test split is empty"):
        evaluate(chain, split(0, 0), Pipeline(8), compute, name="test")
