import math
import os
from dataclasses import replace

import pytest
import torch

from mu2net.core.anatomy import HEAD
from mu2net.core.proposal import Proposal, SlotPlan
from mu2net.errors import ConfigError
from mu2net.nn.chain import build_chain
from mu2net.train.activation_cache import ActivationCache
from mu2net.train.augment import Pipeline
from mu2net.train.child import ChildJob, ChildRun
from mu2net.train.compute import Compute
from mu2net.train.evaluate import evaluate
from mu2net.train.events import BatchDone, IntervalDone, TrainingStopped
from mu2net.train.group import TrainConfig
from mu2net.train.length import Length, StepCost
from mu2net.train.optimizer import SlotOptimizer
from mu2net.train.pace import Measured, Pace
from mu2net.train.prefix import Prefixes
from mu2net.train.session import train_group

FINISH_INTERVAL = ChildRun.finish_interval


def same(one, other) -> bool:
    """Whether two trained children hold the same bits."""
    return all(
        torch.equal(value, theirs[slot][name])
        for ours, theirs in ((one.tensors, other.tensors), (one.momentum, other.momentum))
        for slot, tensors in ours.items()
        for name, value in tensors.items()
    )


def accuracy_of(child, job, source, task, vit, precision="float32", batch_size=8) -> float:
    """Validate a child from its components, as a system would that loads it."""
    components = [
        (plan.slot, child.tensors[plan.slot.name] if plan.is_trainable else source.components[plan.digest])
        for plan in job.proposal.slots
    ]
    compute = Compute.of(vit, torch.device("cpu"), precision)
    found = evaluate(build_chain(vit, components), task.validation, Pipeline(8), compute, batch_size=batch_size)
    return found.accuracy


def test_exactly_the_trainable_slots_come_back(group, job, source, vit):
    (child,) = train_group(group(job("a", "block_02", "norm", adapters=(1,))), source)
    assert list(child.tensors) == ["adapter_01", "block_02", "norm", "head"]
    assert child.tensors["head"]["weight"].shape == (3, 16)
    for slot, tensors in child.tensors.items():
        assert child.momentum[slot].keys() == tensors.keys()
        assert all(value.dtype == torch.float32 and value.is_contiguous() for value in tensors.values())
        assert all(torch.isfinite(value).all() for value in tensors.values())


def test_components_are_never_edited_in_place(group, job, source):
    before = {digest: {n: v.clone() for n, v in tensors.items()} for digest, tensors in source.components.items()}
    one = job("a", *(plan.slot.name for plan in job("b").proposal.slots))
    (child,) = train_group(group(one), source)
    for digest, tensors in source.components.items():
        assert all(torch.equal(value, before[digest][name]) for name, value in tensors.items())
    changed = [
        not torch.equal(child.tensors[p.slot.name][n], v)
        for p in one.proposal.slots[:-1]
        for n, v in before[p.digest].items()
    ]
    assert sum(changed) > len(changed) / 2


def test_a_task_is_learned(group, job, source, root):
    config = TrainConfig(8, 45, batch_size=8)
    (child,) = train_group(group(job("a", *root, ds_crop=False, opt_lr=0.1), config=config), source)
    assert child.metrics.quality > 0.85
    losses = child.metrics.extra["train_loss"]
    assert losses[-1] < 0.4 < losses[0]


def test_metrics_say_what_happened(group, job, source):
    (child,) = train_group(group(job("a", "norm")), source)
    metrics = child.metrics
    assert metrics.quality == max(metrics.validations)
    assert len(metrics.validations) == 2
    assert metrics.examples == 2 * 32
    assert metrics.seconds > 0
    assert metrics.flops > 0
    assert metrics.extra == {
        "device": "cpu",
        "precision": "float32",
        "attention": None,
        "threads": 1,
        "batch_size": 8,
        "train_images": 45,
        "views": 0,
        "rounding": "exact",
        "intervals_planned": 2,
        "steps_per_interval": 4,
        "intervals_completed": 2,
        "best_interval": metrics.validations.index(metrics.quality),
        "train_loss": metrics.extra["train_loss"],
        "diverged_at_step": None,
        "frozen_slots": 5,
        "validated": 21,
    }
    assert all(0 < loss < 2 for loss in metrics.extra["train_loss"])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_quality_is_that_of_the_state_that_comes_back(group, job, source, task, vit, precision):
    one = job("a", "block_01", "norm", opt_lr=0.05, ds_area_range_min=0.01, ds_flip_left_right=True)
    config = TrainConfig(5, 16, batch_size=8, evaluation_batch_size=8, precision=precision)
    (child,) = train_group(group(one, config=config), source)
    assert len(set(child.metrics.validations)) > 2
    assert accuracy_of(child, one, source, task, vit, precision) == child.metrics.quality
    assert child.metrics.extra["precision"] == precision


def scripted(monkeypatch, *accuracies: float):
    """Let validations find these accuracies."""
    script = iter(accuracies)
    monkeypatch.setattr(ChildRun, "finish_interval", lambda self, _: FINISH_INTERVAL(self, next(script)))


def test_the_first_of_the_best_states_is_restored_with_its_momentum(group, job, source, monkeypatch):
    config = TrainConfig(4, 16, batch_size=8)
    one = job("a", "norm", opt_lr_schedule="constant")
    scripted(monkeypatch, 0.25, 0.75, 0.5, 0.75)
    (best,) = train_group(group(one, config=config), source)
    scripted(monkeypatch, 0.25, 0.75)
    (short,) = train_group(group(one, config=replace(config, num_validations=2)), source)
    assert best.metrics.quality == 0.75
    assert best.metrics.extra["best_interval"] == 1
    assert same(best, short)
    scripted(monkeypatch, 0.25, 0.5, 0.6, 0.75)
    assert not same(train_group(group(one, config=config), source)[0], best)


def test_a_first_accuracy_of_zero_is_a_state_too(group, job, source, monkeypatch):
    scripted(monkeypatch, 0.0, 0.0)
    (child,) = train_group(group(job("a", "norm")), source)
    assert child.metrics.extra["best_interval"] == 0


def test_the_same_arguments_give_the_same_bits_and_another_key_others(group, job, source):
    one = job("a", "block_01", "norm", adapters=(0,))
    (first,), (again,) = train_group(group(one), source), train_group(group(one), source)
    assert same(first, again)
    assert first.metrics.validations == again.metrics.validations
    assert not same(first, train_group(group(one, seed=1), source)[0])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_child_does_not_depend_on_its_siblings(group, job, source, precision):
    jobs = [
        job("deep", "patch_embed", "norm"),
        job("gap", "block_00", "norm", opt_lr=0.5),
        job("top", "block_02", "norm"),
        job("twin", "block_02", "norm"),
        job("head"),
        job("adapters", "norm", adapters=(0, 2)),
    ]
    config = TrainConfig(2, 24, batch_size=8, evaluation_batch_size=8, precision=precision)
    together = train_group(group(*jobs, config=config), source)
    assert [child.id for child in together] == [one.id for one in jobs]
    for one, child in zip(jobs, together, strict=True):
        (alone,) = train_group(group(one, config=config), source)
        assert same(alone, child)
        assert alone.metrics.validations == child.metrics.validations


def test_every_child_draws_new_components_of_its_own(group, job, source):
    jobs = [job(name, adapters=(0,), opt_lr=1e-4) for name in ("a", "b")]
    one, other = train_group(group(*jobs), source)
    assert not torch.allclose(one.tensors["adapter_00"]["down.weight"], other.tensors["adapter_00"]["down.weight"])


def test_a_frozen_component_is_loaded_once_for_all(group, job, source, root):
    train_group(group(job("a", "norm"), job("b", "norm"), job("c", "block_02", "norm")), source)
    assert source.loads.count(root["patch_embed"]) == 1
    assert source.loads.count(root["block_02"]) == 2
    assert source.loads.count(root["norm"]) == 3


def test_every_batch_is_prepared_once_for_all(group, job, source, task):
    train_group(group(job("a", "norm"), job("b", "patch_embed"), job("c", "block_02")), source)
    assert len(task.train.fetched) == 2 * 4
    assert len(task.validation.fetched) == 2 * 3


def test_momentum_is_inherited_with_a_clone_only_where_the_agent_says_so(group, job, source, root, vit):
    plan = next(plan for plan in job("a").proposal.slots if plan.slot.name == "norm")
    tensors = source.components[root["norm"]]
    source.momenta[root["norm"]] = {name: torch.full_like(value, 3.0) for name, value in tensors.items()}
    source.momenta[root["block_00"]] = {"not": torch.zeros(1)}  # shared, so it is never read
    assert plan.digest == root["norm"]
    config = TrainConfig(1, 8, batch_size=8)
    (heir,) = train_group(group(job("a", "norm", inherits_momentum=True), config=config), source)
    (plain,) = train_group(group(job("a", "norm"), config=config), source)
    difference = heir.momentum["norm"]["bias"] - plain.momentum["norm"]["bias"]
    assert torch.allclose(difference, torch.full((16,), 0.9 * 3.0), atol=1e-5)
    assert torch.equal(source.momenta[root["norm"]]["bias"], torch.full((16,), 3.0))


def test_a_resampled_slot_fits_the_input_and_trains(group, job, source, vit):
    one = job("a", "norm", ds_image_size=12)
    plans = tuple(
        replace(plan, action="resample") if plan.slot.name == "tokens" else plan for plan in one.proposal.slots
    )
    resampled = replace(one, proposal=replace(one.proposal, slots=plans, inherits_momentum=True))
    (child,) = train_group(group(resampled), source)
    assert child.tensors["tokens"]["pos_embed"].shape == (1, 10, 16)
    assert child.metrics.extra["frozen_slots"] == 1


def test_the_budget_ends_intervals_at_one_pass_over_the_split(group, job, source):
    (child,) = train_group(group(job("a"), config=TrainConfig(2, 10_000, batch_size=8)), source)
    assert child.metrics.examples == 2 * 40  # 45 images: five whole batches of 8
    (small,) = train_group(group(job("a"), config=TrainConfig(3, 5, batch_size=8)), source)
    assert small.metrics.examples == 3 * 5
    assert small.metrics.extra["batch_size"] == 5


def test_observers_see_batches_and_intervals(group, job, source):
    seen = []
    children = train_group(group(job("a"), job("b", "norm")), source, observer=seen.append)
    intervals = [event for event in seen if isinstance(event, IntervalDone)]
    assert sorted((event.interval, event.child) for event in intervals) == [(0, "a"), (0, "b"), (1, "a"), (1, "b")]
    for child in children:
        mine = [event for event in intervals if event.child == child.id]
        assert tuple(event.accuracy for event in mine) == child.metrics.validations
        assert [event.loss for event in mine] == child.metrics.extra["train_loss"]
        assert [event.examples for event in mine] == [32, 32]
        assert sum(event.seconds for event in mine) == pytest.approx(child.metrics.seconds)
        assert mine[0].lr > mine[1].lr > 0
    assert isinstance(seen[0], BatchDone)


def test_a_stop_after_the_interval_keeps_what_there_is(group, job, source):
    seen = []
    (child,) = train_group(
        group(job("a"), config=TrainConfig(5, 16, batch_size=8)),
        source,
        observer=seen.append,
        should_stop=lambda: "interval" if any(isinstance(event, IntervalDone) for event in seen) else "no",
    )
    assert len(child.metrics.validations) == 1
    assert child.metrics.extra["intervals_completed"] == 1
    assert child.metrics.extra["intervals_planned"] == 5


@pytest.mark.parametrize("calls", [0, 1, 5, 9])
def test_a_stop_at_once_raises_wherever_it_comes(group, job, source, calls):
    answers = iter(["no"] * calls + ["now"] * 100)
    with pytest.raises(TrainingStopped, match="2 children of task 'quadrants' was stopped"):
        train_group(group(job("a"), job("b")), source, should_stop=lambda: next(answers))


def poisoned(vit, source, root):
    """A norm whose outputs are not finite."""
    tensors = {name: torch.full_like(value, float("nan")) for name, value in source.components[root["norm"]].items()}
    return source.add(tensors)


def test_a_loss_that_is_not_finite_ends_a_child_and_no_other(group, job, source, root, vit):
    good, bad = job("good", "norm"), job("bad", "norm")
    digest = poisoned(vit, source, root)
    plans = tuple(replace(p, digest=digest) if p.slot.name == "norm" else p for p in bad.proposal.slots)
    bad = replace(bad, proposal=replace(bad.proposal, slots=plans))
    healthy, diverged = train_group(group(good, bad), source)
    assert same(healthy, train_group(group(good), source)[0])
    assert diverged.metrics.quality == 0.0
    assert diverged.metrics.validations == ()
    assert diverged.metrics.examples == 0
    assert diverged.metrics.extra["diverged_at_step"] == 0
    assert diverged.metrics.extra["best_interval"] is None
    (alone,) = train_group(group(bad), source)
    assert alone.metrics.extra["diverged_at_step"] == 0


def test_a_child_that_diverges_later_keeps_its_best_state(group, job, source, monkeypatch):
    step, calls = SlotOptimizer.step, iter(range(100))
    monkeypatch.setattr(
        SlotOptimizer,
        "step",
        lambda self, losses, lr: step(self, [next(iter(losses)) * math.nan] if next(calls) == 6 else losses, lr),
    )
    (child,) = train_group(group(job("a", "block_02", "norm"), config=TrainConfig(3, 32, batch_size=8)), source)
    assert child.metrics.extra["diverged_at_step"] == 6
    assert len(child.metrics.validations) == 1
    assert child.metrics.quality == child.metrics.validations[0]
    assert child.metrics.examples == 6 * 8
    assert torch.isfinite(child.tensors["head"]["weight"]).all()


class Recording(Prefixes):
    def __init__(self):
        super().__init__()
        self.asked = []

    def activation(self, prefix, batch):
        self.asked.append((prefix.key(batch.reader.name), batch.reader.name, batch.reader.pipeline.is_deterministic))
        return super().activation(prefix, batch)


def test_a_prefix_source_provides_every_activation(group, job, source):
    recording = Recording()
    (child,) = train_group(
        group(job("a", "norm", ds_crop=False, ds_brightness_delta=0.0, ds_contrast_delta=0.0)),
        source,
        prefixes=recording,
    )
    assert [name for _, name, _ in recording.asked] == (["train"] * 4 + ["validation"] * 3) * 2
    assert len({key for key, _, _ in recording.asked}) == 2
    assert all(deterministic for _, _, deterministic in recording.asked)
    assert len(child.metrics.validations) == 2


def test_a_child_that_trains_nothing_is_an_error(group, job, source):
    one = job("a")
    head = source.add({"weight": torch.zeros(3, 16), "bias": torch.zeros(3)})
    plans = (*one.proposal.slots[:-1], SlotPlan(HEAD, "share", head))
    frozen = ChildJob("frozen", Proposal("root", "root", plans, one.proposal.hparams), 3)
    with pytest.raises(ConfigError, match="trains no parameters"):
        train_group(group(frozen), source)


def test_children_with_seconds_train_for_different_numbers_of_steps(group, job, source, monkeypatch):
    lengths = {"deep": Length(2, 2), "top": Length(2, 9), "head": Length(1, 30)}
    seconds = {name: float(number) for number, name in enumerate(lengths)}
    by_seconds = {seconds[name]: length for name, length in lengths.items()}

    def measure(self, child, *_):
        return Measured(StepCost(0.0), StepCost(0.0), seconds[child.id])

    monkeypatch.setattr(Pace, "measure", measure)
    monkeypatch.setattr(Pace, "length", lambda self, measured: by_seconds[measured.seconds])
    jobs = [job("deep", "patch_embed"), job("top", "block_02", "norm"), job("head")]
    config = TrainConfig(4, 10_000, batch_size=8, evaluation_batch_size=8, seconds=5.0)
    together = train_group(group(*jobs, config=config), source)
    for one, child in zip(jobs, together, strict=True):
        length = lengths[child.id]
        assert child.metrics.examples == 8 * length.total_steps
        assert len(child.metrics.validations) == length.num_validations
        assert child.metrics.extra["steps_per_interval"] == length.steps_per_interval
        (alone,) = train_group(group(one, config=config), source)
        assert same(alone, child)


def test_the_seconds_of_a_child_are_kept_to(group, job, source):
    """However long a step takes: measured on the child itself. Only the order of magnitude is certain."""
    config = TrainConfig(4, 10**6, batch_size=8, evaluation_batch_size=8, seconds=1.0)
    (child,) = train_group(group(job("a", "block_02", "norm"), config=config), source)
    assert child.metrics.examples > 5 * 8
    assert child.metrics.extra["intervals_planned"] == len(child.metrics.validations) <= 4


def test_the_same_length_gives_the_same_bits_however_it_was_found(group, job, source):
    config = TrainConfig(2, 40, batch_size=8, evaluation_batch_size=8)
    one = job("a", "block_02", "norm")
    (timed,) = train_group(group(one, config=replace(config, seconds=1000.0)), source)
    (given,) = train_group(group(one, config=config), source)
    assert timed.metrics.extra["steps_per_interval"] == given.metrics.extra["steps_per_interval"] == 5
    assert same(timed, given)


PLAIN = {"ds_crop": False, "ds_brightness_delta": 0.0, "ds_contrast_delta": 0.0}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("changes", [PLAIN, {}])
def test_children_do_not_depend_on_what_was_kept(group, job, source, tmp_path, precision, changes):
    jobs = [job("top", "block_02", "norm", **changes), job("gap", "block_01", **changes), job("head", **changes)]
    config = TrainConfig(2, 32, batch_size=8, evaluation_batch_size=8, precision=precision)
    without = train_group(group(*jobs, config=config), source)
    cache = ActivationCache(tmp_path, 10**9)
    for _ in range(2):
        prefixes = Prefixes(cache)
        kept = train_group(group(*jobs, config=config), source, prefixes=prefixes)
        assert all(same(*pair) for pair in zip(without, kept, strict=True))
        assert [child.metrics.validations for child in without] == [child.metrics.validations for child in kept]
    assert prefixes.batches_read > 0
    assert (prefixes.slots_run == 0) == (changes == PLAIN)  # of fresh images, only validation comes again


@pytest.mark.parametrize("harm", ["deleted", "truncated", "flipped"])
def test_a_cache_that_is_harmed_in_the_middle_changes_nothing(group, job, source, tmp_path, harm):
    jobs, config = [job("top", "block_02", "norm", **PLAIN)], TrainConfig(4, 32, batch_size=8, evaluation_batch_size=8)
    expected = train_group(group(*jobs, config=config), source)
    done = []

    def damage(event):
        done.append(isinstance(event, IntervalDone))
        if sum(done) == 2 and done[-1]:
            for file in [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size > 8192]:
                content = bytearray(file.read_bytes())
                content[-5] ^= 1
                if harm == "deleted":
                    file.unlink()
                elif harm == "truncated":
                    os.truncate(file, 8192)
                else:
                    with file.open("r+b") as opened:
                        opened.write(content)

    prefixes = Prefixes(ActivationCache(tmp_path, 10**9, memory_limit=0))
    found = train_group(group(*jobs, config=config), source, prefixes=prefixes, observer=damage)
    assert prefixes.batches_read > 0
    assert same(expected[0], found[0])
    assert expected[0].metrics.validations == found[0].metrics.validations


def test_a_pool_of_views_is_part_of_the_child(group, job, source, tmp_path):
    one = job("a", "block_02", "norm")
    config = TrainConfig(3, 45, batch_size=9, evaluation_batch_size=8, views=2)
    (plain,) = train_group(group(one, config=replace(config, views=0)), source)
    (pooled,) = train_group(group(one, config=config), source)
    prefixes = Prefixes(ActivationCache(tmp_path, 10**9))
    (kept,) = train_group(group(one, config=config), source, prefixes=prefixes)
    assert not same(plain, pooled)
    assert same(pooled, kept)
    assert pooled.metrics.extra["views"] == 2
    assert plain.metrics.extra["views"] == 0
    assert prefixes.batches_read >= 5  # the third pass shows the views of the first


def test_rounded_activations_are_part_of_the_child(group, job, source):
    one = job("a", "block_02", "norm")
    config = TrainConfig(2, 32, batch_size=8, evaluation_batch_size=8)
    (exact,) = train_group(group(one, config=config), source)
    (rounded,) = train_group(group(one, config=replace(config, rounding="bfloat16")), source)
    assert not same(exact, rounded)
    assert rounded.metrics.extra["rounding"] == "bfloat16"


def test_children_of_the_same_work_are_measured_once(group, job, source, monkeypatch):
    measured = []

    def measure(self, child, seconds, sharers, companions, below):
        measured.append((child.id, sharers, companions, [other.id for other in below]))
        return Measured(StepCost(0.0), StepCost(0.0), len(measured))

    monkeypatch.setattr(Pace, "measure", measure)
    monkeypatch.setattr(Pace, "length", lambda self, measured: Length(1, measured.seconds))
    jobs = [job("one", "norm"), job("two", "norm"), job("deep", "block_02", "norm")]
    trained = train_group(group(*jobs, config=TrainConfig(1, 100, batch_size=8, seconds=5.0)), source)
    assert measured == [("deep", 1, 1, []), ("one", 2, 2, ["deep"])], "the shortest trunk first: it is a part of others"
    assert [child.metrics.extra["steps_per_interval"] for child in trained] == [2, 2, 1]


class Indices(Prefixes):
    def __init__(self, cache):
        super().__init__(cache)
        self.asked = []

    def activation(self, prefix, batch):
        self.asked.append((batch.reader.name, batch.indices))
        return super().activation(prefix, batch)


@pytest.mark.parametrize(("fill_seconds", "images"), [(100.0, 16), (0.0, 8)])
def test_a_child_passes_over_the_images_that_it_was_limited_to(
    group, job, source, tmp_path, monkeypatch, fill_seconds, images
):
    """Fewer of them where they take longer than was measured; never less than a batch.

    Another group of the cycle sees the same images; the order of later passes is its own.
    """
    costs = Measured(StepCost(0.001, fill_seconds, 5), StepCost(0.0), 5.0)
    monkeypatch.setattr(Pace, "measure", lambda *_: costs)
    monkeypatch.setattr(Pace, "num_images", lambda self, measured: 16)
    monkeypatch.setattr(Pace, "length", lambda self, measured: Length(1, 6))
    config = TrainConfig(1, 10**6, batch_size=8, evaluation_batch_size=8, seconds=5.0, passes=3)
    seen = []
    for generation in (0, 1):
        prefixes = Indices(ActivationCache(tmp_path, 10**9))
        one = replace(group(job("a", "norm", **PLAIN), config=config), seed_key=(0, "task", 0, generation))
        (child,) = train_group(one, source, prefixes=prefixes)
        assert child.metrics.extra["train_images"] == images
        asked = [sorted(indices.tolist()) for name, indices in prefixes.asked if name == "train"]
        filling, training = asked[: images // 8], asked[images // 8 :]
        assert len(training) == 6
        pool = sorted(index for part in filling for index in part)
        for start in range(0, 6, images // 8):
            a_pass = training[start : start + images // 8]
            assert sorted(index for part in a_pass for index in part) == pool
        seen.append(filling)
    assert seen[0] == seen[1]


def test_trunks_that_are_parts_of_each_other_are_computed_once_and_paid_for_equally(
    group, job, source, tmp_path, monkeypatch
):
    """Two batches are filled and three validated, four frozen slots each: three of them are below both children."""
    fills = {"low": 8.0, "high": 1.0}
    totals, charged = [], []

    def measure(self, child, *_):
        return Measured(StepCost(0.001, fills[child.id], 5), StepCost(0.0), 5.0)

    monkeypatch.setattr(Pace, "measure", measure)
    monkeypatch.setattr(Pace, "num_images", lambda self, measured: totals.append(measured) or 16)
    monkeypatch.setattr(Pace, "length", lambda self, measured: charged.append(measured.step) or Length(1, 6))
    jobs = [job("high", "block_02", "norm", **PLAIN), job("low", "block_01", "norm", **PLAIN)]
    config = TrainConfig(1, 10**6, batch_size=8, evaluation_batch_size=8, seconds=5.0, passes=3)
    prefixes = Prefixes(ActivationCache(tmp_path, 10**9))
    trained = train_group(group(*jobs, config=config), source, prefixes=prefixes)
    assert [child.metrics.extra["train_images"] for child in trained] == [16, 16]
    assert totals == [Measured(StepCost(0.002, 9.0, 5), StepCost(0.0), 10.0)]
    assert charged == [StepCost(0.001, 4.5, 0)] * 2, "what they will see is filled already"
    assert prefixes.slots_run == 4 * (2 + 3)


def test_children_that_are_compared_see_the_same_images_whatever_they_cost(group, job, source):
    jobs = [job("head"), job("deep", "patch_embed", "norm")]
    config = TrainConfig(1, 10**6, batch_size=8, evaluation_batch_size=8, seconds=1.0)
    found = {}
    for is_comparison in (True, False):
        trained = train_group(group(*jobs, config=replace(config, is_comparison=is_comparison)), source)
        found[is_comparison] = [child.metrics.examples for child in trained]
    assert found[True][0] == found[True][1] > 0
    assert found[False][0] != found[False][1], "each as many as fit its own time"


def test_metrics_say_how_many_images_were_validated(group, job, source):
    config = TrainConfig(1, 16, batch_size=8, evaluation_batch_size=8)
    for limit, expected in ((None, 21), (5, 5)):
        (child,) = train_group(group(job("a"), config=replace(config, max_validation_examples=limit)), source)
        assert child.metrics.extra["validated"] == expected


def test_nothing_is_computed_for_statistics_where_there_are_no_batch_norms(group, job, source):
    one = job("a", "block_02", "norm")
    measuring = replace(one, proposal=replace(one.proposal, measures_statistics=True))
    counts = []
    for each in (one, measuring):
        prefixes = Recording()
        train_group(group(each), source, prefixes=prefixes)
        counts.append(len(prefixes.asked))
    assert counts[0] == counts[1] > 0
