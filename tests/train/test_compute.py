from dataclasses import replace

import pytest
import torch

from mu2net.nn import machine
from mu2net.nn.attention import choose_kernel
from mu2net.nn.backbone import Normalisation
from mu2net.nn.chain import build_chain
from mu2net.train.compute import Compute, thread_count

PLAIN = Compute(torch.device("cpu"), "float32", "sdpa", Normalisation((0, 0, 0), (1, 1, 1)))


def test_a_backbone_says_how_its_images_look(vit):
    compute = Compute.of(vit, torch.device("cpu"), "float32")
    inputs = compute.inputs(torch.full((2, 8, 8, 3), 255, dtype=torch.uint8))
    assert inputs.shape == (2, 3, 8, 8)
    assert torch.equal(inputs, torch.ones(2, 3, 8, 8))
    assert not compute.is_channels_last


def test_arithmetic_holds_inside_the_block_only():
    weights = torch.ones(4, 4)
    with replace(PLAIN, precision="bfloat16").arithmetic():
        assert (weights @ weights).dtype == torch.bfloat16
    assert (weights @ weights).dtype == torch.float32


def test_the_number_of_threads_comes_back():
    before = torch.get_num_threads()
    with thread_count(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with thread_count(None):
        assert torch.get_num_threads() == before


def test_the_attention_kernel_holds_inside_the_block_only(vit, root, source):
    slots = vit.anatomy.slots(vit.depth)[:-1]
    chain = build_chain(vit, [(slot, source.load(root[slot.name])) for slot in slots])
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    outside, found = chain(images), {}
    for attention in ("explicit", "sdpa"):
        with Compute.of(vit, torch.device("cpu"), "float32", attention).arithmetic():
            found[attention] = chain(images)
    assert torch.equal(found["sdpa"], outside)
    assert torch.allclose(found["explicit"], outside, atol=1e-5)
    assert not torch.equal(found["explicit"], outside)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_without_a_kernel_the_fixed_rule_holds(vit, precision):
    device, dtype = torch.device("cpu"), getattr(torch, precision)
    assert Compute.of(vit, device, precision).attention == choose_kernel(device, dtype)
    assert Compute.of(vit, device, precision, "explicit").attention == "explicit"
    assert Compute.of(vit, device, precision, "sdpa").attention == "sdpa"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("attention", ["explicit", "sdpa"])
def test_float32_is_one_arithmetic_whatever_was_chosen(vit, precision, attention):
    compute = Compute.of(vit, torch.device("cpu"), precision, attention)
    assert compute.in_float32() == Compute.of(vit, torch.device("cpu"), "float32")


@pytest.mark.parametrize(
    "changes",
    [
        {"device": torch.device("mps")},
        {"precision": "bfloat16"},
        {"attention": "explicit"},
        {"normalisation": Normalisation((0, 0, 1), (1, 1, 1))},
        {"normalisation": Normalisation((0, 0, 0), (1, 1, 2))},
        {"is_channels_last": True},
    ],
)
def test_the_description_differs_with_every_part_of_the_arithmetic(changes):
    assert replace(PLAIN).canonical() == PLAIN.canonical()
    assert replace(PLAIN, **changes).canonical() != PLAIN.canonical()


def test_the_description_differs_with_the_number_of_threads():
    before = PLAIN.canonical()
    with thread_count(torch.get_num_threads() + 1):
        assert PLAIN.canonical() != before
    assert PLAIN.canonical() == before


@pytest.mark.parametrize(
    ("owner", "name", "value"),
    [
        (torch, "__version__", "1.0"),
        (torch.__config__, "show", lambda: "another build"),
        (machine, "COMPUTATION", 0),
        (machine, "processor", lambda: "another processor"),
        (machine, "instructions", lambda: "other instructions"),
    ],
)
def test_the_description_differs_with_the_machine(monkeypatch, owner, name, value):
    before = PLAIN.canonical()
    monkeypatch.setattr(owner, name, value)
    assert PLAIN.canonical() != before
