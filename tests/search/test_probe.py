from __future__ import annotations

import numpy as np
import pytest
import torch

from mu2net.nn import machine
from mu2net.nn.chain import build_chain
from mu2net.nn.precision import choose_device
from mu2net.nn.roots import backbone_from_config
from mu2net.search.images import load_recorded_task
from mu2net.search.probe import PROBE_SIZE, check_probe, environment, make_probe
from mu2net.train.compute import Compute

CPU = choose_device("cpu")
KERNELS = (None, "explicit", "sdpa")


@pytest.fixture
def network(store):
    """A network with a head that tells classes apart, and its system's backbone."""
    backbone = backbone_from_config(store.config.backbone)
    parts = [(component.slot, store.load(component.digest)) for component in store.root().components]
    head = backbone.anatomy.slots(2)[-1]
    tensors = backbone.fresh(head, 0, num_classes=3)
    tensors["weight"].copy_(torch.randn(tensors["weight"].shape, generator=torch.Generator().manual_seed(0)))
    return build_chain(backbone, [*parts, (head, tensors)]).eval(), backbone


@pytest.fixture
def split(store):
    return load_recorded_task(store, "one").validation


@pytest.mark.parametrize("attention", KERNELS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_probe_is_the_first_images_and_bit_equal_again(split, network, precision, attention):
    chain, backbone = network
    compute = Compute.of(backbone, CPU, precision, attention)
    tensors, recorded = make_probe(chain, split, 8, compute)
    assert np.array_equal(tensors["images"].numpy(), split.pixels(8)[np.arange(PROBE_SIZE)])
    assert tensors["logits"].shape == (PROBE_SIZE, 3)
    assert torch.equal(tensors["logits"], tensors["logits_float32"]) == (compute == compute.in_float32())
    result = check_probe(chain, tensors, recorded, compute)
    assert (result.is_bit_equal, result.max_difference, result.num_logits) == (True, 0.0, PROBE_SIZE * 3)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_recorded_kernel_counts(split, network, precision):
    chain, backbone = network
    ours, theirs = (Compute.of(backbone, CPU, precision, kernel) for kernel in ("explicit", "sdpa"))
    tensors, recorded = make_probe(chain, split, 8, theirs)
    assert recorded["attention"] == "sdpa"
    assert check_probe(chain, tensors, recorded, ours).is_bit_equal
    assert check_probe(chain, tensors, {**recorded, "attention": "explicit"}, theirs).is_bit_equal is False


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_probe_that_was_recorded_without_kernel_and_instructions_is_compared_by_the_fixed_rule(
    split, network, precision
):
    chain, backbone = network
    compute = Compute.of(backbone, CPU, precision)
    tensors, recorded = make_probe(chain, split, 8, compute)
    del recorded["attention"], recorded["instructions"]
    assert check_probe(chain, tensors, recorded, compute).is_bit_equal


def test_a_probe_of_another_computation_is_compared_within_the_tolerance(split, network, monkeypatch):
    chain, backbone = network
    compute = Compute.of(backbone, CPU, "float32")
    tensors, recorded = make_probe(chain, split, 8, compute)
    del recorded["computation"]
    result = check_probe(chain, tensors, recorded, compute)
    assert (result.is_bit_equal, result.max_difference) == (None, 0.0)
    assert result.reason == f"computation: recorded 1, here {machine.COMPUTATION}"
    monkeypatch.setattr(machine, "COMPUTATION", 1)
    assert check_probe(chain, tensors, recorded, compute).is_bit_equal


def test_it_does_not_depend_on_the_number_of_threads(split, network):
    chain, backbone = network
    compute = Compute.of(backbone, CPU, "float32")
    tensors, recorded = make_probe(chain, split, 8, compute)
    torch.set_num_threads(2)
    assert check_probe(chain, tensors, recorded, compute).is_bit_equal
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("name", ["logits", "logits_float32"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_one_changed_bit_is_found(split, network, precision, name):
    chain, backbone = network
    compute = Compute.of(backbone, CPU, precision)
    tensors, recorded = make_probe(chain, split, 8, compute)
    bits = tensors[name].clone()
    bits.view(torch.int32)[0, 0] ^= 1
    result = check_probe(chain, {**tensors, name: bits}, recorded, compute)
    assert result.is_bit_equal is False
    assert 0 < result.max_difference < 1e-5


@pytest.mark.parametrize("name", ["processor", "instructions"])
def test_elsewhere_only_float32_logits_count(split, network, name):
    chain, backbone = network
    compute = Compute.of(backbone, CPU, "bfloat16")
    tensors, recorded = make_probe(chain, split, 8, compute)
    away = {**recorded, name: "another", "torch": "1.0"}
    other = {**tensors, "logits": tensors["logits"] + 1, "logits_float32": tensors["logits_float32"] + 2e-6}
    result = check_probe(chain, other, away, compute)
    assert result.is_bit_equal is None
    assert result.max_difference == pytest.approx(2e-6, rel=0.5)
    assert "torch: recorded '1.0', here" in result.reason
    assert f"{name}: recorded 'another'" in result.reason


@pytest.mark.parametrize("wrong", [torch.full((PROBE_SIZE, 3), float("nan")), torch.zeros(PROBE_SIZE, 4)])
def test_logits_that_cannot_be_compared_are_infinitely_far(split, network, wrong):
    chain, backbone = network
    compute = Compute.of(backbone, CPU, "float32")
    tensors, recorded = make_probe(chain, split, 8, compute)
    result = check_probe(chain, {**tensors, "logits_float32": wrong}, recorded, compute)
    assert (result.is_bit_equal, result.max_difference) == (False, float("inf"))


def test_the_environment_says_what_bits_depend_on(network):
    _, backbone = network
    here = environment(Compute.of(backbone, CPU, "bfloat16", "sdpa"), 16)
    assert here["torch"] == str(torch.__version__)
    assert (here["device"], here["precision"], here["batch"], here["threads"]) == ("cpu", "bfloat16", 16, 1)
    assert here["attention"] == "sdpa"
    assert here["processor"]
    assert here["instructions"]
    assert environment(Compute.of(backbone, torch.device("mps"), "float32"), 16)["device"] == "mps"
