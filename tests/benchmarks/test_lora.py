from __future__ import annotations

import io
import itertools
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from benchmarks import lora
from benchmarks.lora import LEARNING_RATES, MAX_VALIDATIONS, TRIAL_SHARE, added_parameters, merge, pipeline_of, run_lora
from benchmarks.lora_training import BATCH_SIZE, Cost, LoraTraining, Run, adapt, plain_vit, trainable, with_head
from benchmarks.workplace import CPU
from mu2net import System
from mu2net.data.load import load_task
from mu2net.data.source import TaskSource
from mu2net.errors import BudgetError, ConfigError, RangeError, UnknownNameError
from mu2net.nn.chain import build_chain
from mu2net.nn.roots import load_root
from mu2net.train.compute import Compute
from mu2net.train.evaluate import Evaluation

ROOT = "vit:dim=16,depth=2,heads=2,patch=8,image=16"
CLASSES, DIM, MLP, DEPTH, RANK = 3, 16, 64, 2, 4
VALIDATED = 21
PLAIN = {"ds_crop": False, "ds_flip_left_right": False}
BUDGET = 1500


def picture(rng, color):
    pixels = np.clip(rng.normal(color, 40, (16, 16, 3)), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("colors"), np.random.default_rng(0)
    colors = ((60, 120, 180), (180, 60, 120), (120, 180, 60))
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    for split, count in (("train", 400), ("test", 60)):
        labels = [row % CLASSES for row in range(count)]
        images = pa.array([picture(rng, colors[label]) for label in labels], kind)
        pq.write_table(pa.table({"image": images, "label": labels}), folder / f"{split}-00000-of-00001.parquet")
    return folder


def learn(source, work, **changes):
    options = {"rank": RANK, "seconds": None, "examples": BUDGET, "seed": 0, "image_size": None, "hparams": {}}
    return run_lora(changes.pop("root", ROOT), source, work, **options | changes)


@pytest.fixture(scope="module")
def result(source, tmp_path_factory):
    return learn(source, tmp_path_factory.mktemp("work"))


@pytest.fixture
def make_training(source, tmp_path):
    def make(kind=LoraTraining, clock=None):
        root = load_root(ROOT)
        task = load_task(TaskSource(name="colors", source=str(source)), tmp_path)
        model = adapt(plain_vit(root, CLASSES, 16), RANK, 0)
        return kind(model, task, pipeline_of(root.backbone, {}), Compute.of(root.backbone, CPU, "float32"), clock)

    return make


def images(side=16):
    return torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(1))


def test_an_easy_task_is_learned(result):
    assert result.test > 0.8
    assert result.validation > 0.8
    assert result.num_test == 60
    assert result.lr in LEARNING_RATES
    assert BUDGET - 4 * BATCH_SIZE < result.examples <= BUDGET


def test_the_same_arguments_give_the_same_result(result, source, tmp_path):
    torch.manual_seed(99)
    assert replace(learn(source, tmp_path), seconds=result.seconds) == result


def test_the_seed_decides_the_updates():
    states = [trainable(adapt(plain_vit(load_root(ROOT), CLASSES, 16), RANK, seed)) for seed in (0, 0, 1)]
    name = next(name for name in states[0] if "lora_A" in name)
    assert torch.equal(states[0][name], states[1][name])
    assert not torch.equal(states[0][name], states[2][name])


def test_no_global_generator_is_touched():
    network = plain_vit(load_root(ROOT), CLASSES, 16)
    before = torch.get_rng_state()
    adapt(network, RANK, 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_state_that_is_tested_is_the_one_of_the_best_validation(source, tmp_path, monkeypatch):
    search = lora.search

    def untrained(training, *arguments):
        start = training.state()
        lr, final = search(training, *arguments)
        return lr, replace(final, state=start)

    monkeypatch.setattr(lora, "search", untrained)
    assert learn(source, tmp_path).test == pytest.approx(1 / CLASSES)


def test_every_run_starts_at_the_same_point(make_training):
    training = make_training()
    first, second = (training.run(5e-3, ("test",), 320.0, Cost(64.0, 0.0), 1) for _ in range(2))
    assert (second.accuracies, second.losses) == (first.accuracies, first.losses)


def test_only_lora_norm_and_head_train(make_training):
    training = make_training()
    model = training.model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    training.run(5e-3, ("test",), 640.0, Cost(64.0, 0.0), 2)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == trainable(model).keys()
    layers = [
        f"blocks.{block}.{layer}.lora_{half}.default.weight"
        for block, layer, half in itertools.product(
            range(DEPTH), ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"), ("A", "B")
        )
    ]
    whole = [f"{name}.modules_to_save.default.{kind}" for name in ("norm", "head") for kind in ("weight", "bias")]
    assert changed == {f"base_model.model.{name}" for name in (*layers, *whole)}


def test_added_parameters_are_all_that_train():
    root = load_root(ROOT)
    model = adapt(plain_vit(root, CLASSES, 16), RANK, 0)
    linears = (DIM + 3 * DIM) + (DIM + DIM) + (DIM + MLP) + (MLP + DIM)
    expected = DEPTH * RANK * linears + 2 * DIM + CLASSES * (DIM + 1)
    assert added_parameters(model, root, CLASSES) == expected == model.get_nb_trainable_parameters()[0]


def test_the_merged_network_gives_the_same_logits(make_training):
    training = make_training()
    run = training.run(5e-3, ("test",), 640.0, Cost(64.0, 0.0), 2)
    training.restore(run.state)
    with torch.no_grad():
        adapted = training.model(images())
        merged = merge(training.model)
        assert adapted.abs().max() > 0.1
        assert torch.allclose(merged(images()), adapted, atol=1e-5)
    names = set(plain_vit(load_root(ROOT), CLASSES, 16).state_dict())
    assert set(merged.state_dict()) == names


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("side", [16, 32])
def test_untrained_it_computes_what_mu2net_computes(tmp_path, has_bias, side):
    state = plain_vit(load_root("vit:dim=128,depth=2,heads=2,patch=8,image=16"), CLASSES, 16).state_dict()
    kept = {name: value for name, value in state.items() if "head" not in name and (has_bias or "qkv.bias" not in name)}
    for name in kept.keys() & {"blocks.0.attn.qkv.bias", "blocks.1.attn.qkv.bias"}:
        kept[name].normal_(generator=torch.Generator().manual_seed(2))
    save_file(kept, tmp_path / "root.safetensors")
    root = load_root(f"file:{tmp_path / 'root.safetensors'}?heads=2")
    assert root.backbone.qkv_bias is has_bias
    parts = with_head(root, CLASSES, side)
    model = adapt(plain_vit(root, CLASSES, side), RANK, 0)
    weight = torch.randn(CLASSES, 128, generator=torch.Generator().manual_seed(0))
    parts[-1][1]["weight"].copy_(weight)
    with torch.no_grad():
        model.base_model.model.head.modules_to_save["default"].weight.copy_(weight)
        assert torch.allclose(model(images(side)), build_chain(root.backbone, parts)(images(side)), atol=1e-4)


def test_logits_are_float32_in_bfloat16_too(make_training):
    model = make_training().model
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(images()).dtype == torch.float32


def test_the_task_is_the_one_that_a_system_adds(source, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(lora, "LoraTraining", lambda *arguments: seen.append(arguments) or LoraTraining(*arguments))
    learn(source, tmp_path / "work", hparams=PLAIN)
    _, task, pipeline, *_ = seen[0]
    with System.create(tmp_path / "system", root=ROOT) as system:
        system.add_task("colors", source)
        theirs = system._data("colors", lambda event: None)
    assert task.fingerprint == theirs.fingerprint
    assert task.validation.fingerprint == theirs.validation.fingerprint
    assert (len(task.validation), len(task.test)) == (VALIDATED, 60)
    assert pipeline.is_deterministic


def test_the_image_pipeline_is_mu2nets_with_what_is_given(source, tmp_path):
    backbone = load_root(ROOT).backbone
    pipeline = pipeline_of(backbone, {"ds_flip_left_right": False, "rate": 0.2})
    assert (pipeline.image_size, pipeline.has_crop, pipeline.area_min, pipeline.has_flip) == (16, True, 0.05, False)
    with pytest.raises(UnknownNameError, match="ds_flop"):
        pipeline_of(backbone, {"ds_flop": True})
    with pytest.raises(RangeError, match="ds_image_size"):
        pipeline_of(backbone, {"ds_image_size": 17})


def test_the_input_size_counts(result, source, tmp_path):
    larger = learn(source, tmp_path, hparams={"ds_image_size": 32})
    assert larger.flops > 2 * result.flops
    assert larger.added_params == result.added_params


def test_flops_are_those_of_the_root_and_the_head(result):
    assert result.flops == load_root(ROOT).backbone.anatomy.flops + 2 * DIM * CLASSES


def test_convolutional_roots_are_refused(source, tmp_path):
    with pytest.raises(ConfigError, match=r"'efficientnet-lite0' is convolutional; .* vision transformer"):
        learn(source, tmp_path, root="efficientnet-lite0")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rank": 0}, "rank is 0"),
        ({"seconds": 1.0}, "exactly one"),
        ({"examples": None}, "exactly one"),
        ({"examples": -1}, "positive"),
        ({"seconds": float("nan"), "examples": None}, "positive"),
    ],
)
def test_impossible_options_are_refused(source, tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        learn(source, tmp_path, **changes)


def test_a_budget_that_is_too_small_names_one_that_is_not(source, tmp_path):
    with pytest.raises(BudgetError, match="at least 712 training examples"):
        learn(source, tmp_path, examples=711)
    assert learn(source, tmp_path, examples=712).examples <= 712


@pytest.mark.parametrize(
    ("accuracies", "losses", "best"), [((0.5, 0.7, 0.6), (1.0, 2.0, 0.5), 1), ((0.7, 0.6, 0.7), (1.0, 0.1, 0.9), 2)]
)
def test_the_best_trial_decides_the_learning_rate(make_training, monkeypatch, accuracies, losses, best):
    training, rates = make_training(), []

    def run(lr, *arguments):
        rates.append(lr)
        number = LEARNING_RATES.index(lr)
        return Run(accuracies[number : number + 1], losses[number : number + 1], {}, Cost(64.0, 0.0))

    monkeypatch.setattr(training, "run", run)
    lr, _ = lora.search(training, 0, 1500.0, 1500.0)
    assert lr == LEARNING_RATES[best]
    assert rates == [*LEARNING_RATES, lr]


class Timed(LoraTraining):
    """A training whose steps and validations take given times."""

    step_seconds, image_seconds, now = 1.0, 1 / VALIDATED, 0.0

    def step(self, optimizer, batch, lr):
        super().step(optimizer, batch, lr)
        self.rates = [*getattr(self, "rates", []), lr]
        self.now += self.step_seconds

    def validate(self, images):
        self.now += images * self.image_seconds
        return super().validate(images)


@pytest.fixture
def timed(make_training):
    training = make_training(Timed)
    training.clock = lambda: training.now
    return training


def test_a_time_budget_is_used_and_kept(timed):
    lr, final = lora.search(timed, 0, 200.0, 200.0)
    assert 199.0 <= timed.now <= 200.0
    assert lr in LEARNING_RATES
    assert len(final.accuracies) == MAX_VALIDATIONS
    assert (final.cost.step, final.cost.image) == pytest.approx((1.0, 1 / VALIDATED))
    trial = int(200 * TRIAL_SHARE) - 1
    measured, trials, rest = timed.rates[:2], timed.rates[2 : 2 + 3 * trial], timed.rates[2 + 3 * trial :]
    assert measured == [0.0, 0.0]
    assert timed.examples == BATCH_SIZE * (len(trials) + len(rest))
    for number, peak in enumerate(LEARNING_RATES):
        rates = trials[number * trial : (number + 1) * trial]
        assert 0.9 * peak < max(rates) <= peak
        assert rates[-1] < 0.05 * peak
    assert 0.99 * lr < max(rest) <= lr
    assert rest[-1] < 0.01 * lr


def test_the_schedule_ends_in_time_on_a_machine_that_slows_down(timed):
    timed.step_seconds, timed.image_seconds = 2.0, 2 / VALIDATED
    run = timed.run(5e-3, ("test",), 100.0, Cost(1.0, 1 / VALIDATED), MAX_VALIDATIONS)
    assert timed.now <= 100.0 + 2.0 + 1.0  # a step that is longer than expected, and the last validation
    assert len(run.accuracies) == MAX_VALIDATIONS
    assert timed.rates[-1] < 0.05 * 5e-3


def test_validations_take_a_quarter_of_the_time_at_most(timed):
    timed.image_seconds = 0.5
    assert len(timed.run(5e-3, ("test",), 100.0, Cost(1.0, 0.5), MAX_VALIDATIONS).accuracies) == 2
    assert timed.trial_images(1000.0, Cost(1.0, 0.5)) == VALIDATED


def test_the_best_state_is_kept(make_training, monkeypatch):
    training, found = make_training(), []

    def validate(images):
        found.append(training.state())
        accuracy = (0.2, 0.9, 0.9, 0.5)[len(found) - 1]
        logits = torch.tensor([[1.0, 0.0]] * 10)
        return Evaluation(logits, torch.tensor([0] * round(10 * accuracy) + [1] * round(10 * (1 - accuracy))))

    monkeypatch.setattr(training, "validate", validate)
    run = training.run(5e-3, ("test",), 4 * 8 * 64.0, Cost(64.0, 0.0), 4)
    assert run.accuracies == pytest.approx((0.2, 0.9, 0.9, 0.5))
    assert all(torch.equal(value, found[1][name]) for name, value in run.state.items())
    assert not all(torch.equal(value, found[2][name]) for name, value in run.state.items())


def test_a_loss_that_is_not_finite_changes_nothing(make_training, monkeypatch):
    training = make_training()
    start = training.state()
    forward = training.model.forward
    monkeypatch.setattr(training.model, "forward", lambda inputs: forward(inputs) * torch.nan)
    run = training.run(5e-3, ("test",), 640.0, Cost(64.0, 0.0), 1)
    assert run.accuracies == (0.0,)
    assert run.quality == (0.0, -float("inf"))
    assert all(torch.equal(value, start[name]) for name, value in run.state.items())
