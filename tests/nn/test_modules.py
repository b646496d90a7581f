import pytest
import torch

from mu2net.core.component import Digest, Slot
from mu2net.errors import ComponentError
from mu2net.nn.modules import Modules, module_bytes
from mu2net.nn.roots import load_root

CPU = torch.device("cpu")


@pytest.fixture
def root():
    return load_root("vit:dim=16,depth=4,heads=2,patch=4,image=8", seed=1)


@pytest.fixture
def loads():
    return []


@pytest.fixture
def load(root, loads):
    known = {Digest(slot.name): tensors for slot, tensors in root.components}

    def load(digest):
        loads.append(str(digest))
        if digest not in known:
            raise ComponentError(f"component {digest} is missing")
        return known[digest]

    return load


def block(number):
    name = f"block_{number:02d}"
    return Slot(name, "block"), Digest(name)


def test_a_component_is_loaded_once_when_it_is_first_needed(root, load, loads):
    modules = Modules(root.backbone, load, CPU)
    assert (len(modules), modules.num_bytes, loads) == (0, 0, [])
    first = modules.get(*block(0))
    assert modules.get(*block(0)) is first
    assert not first.training
    assert loads == ["block_00"]
    assert (len(modules), modules.loads, modules.num_bytes) == (1, 1, module_bytes(first))
    weight = next(tensors for slot, tensors in root.components if slot.name == "block_00")["mlp.fc1.weight"]
    assert torch.equal(first.mlp.fc1.weight, weight)


def test_bytes_count_parameters_and_buffers():
    module = torch.nn.BatchNorm2d(4)  # weight, bias, mean, variance: 16 bytes each; the counter 8
    assert module_bytes(module) == 4 * 16 + 8


def test_the_same_component_in_two_slots_is_two_modules(root, load):
    """A convolution's stride belongs to its slot, for instance."""
    modules = Modules(root.backbone, load, CPU)
    assert modules.get(Slot("block_09", "block"), Digest("block_00")) is not modules.get(*block(0))


def test_what_was_used_longest_ago_goes_first(root, load, loads):
    size = module_bytes(root.backbone.module(Slot("block_00", "block"), root.components[2][1]))
    modules = Modules(root.backbone, load, CPU, limit=2 * size)
    for number in (0, 1, 0, 2):
        modules.get(*block(number))
    assert (len(modules), modules.num_bytes) == (2, 2 * size)
    modules.get(*block(0))
    assert loads == ["block_00", "block_01", "block_02"]
    modules.get(*block(1))
    assert loads == ["block_00", "block_01", "block_02", "block_01"]
    modules.clear()
    assert (len(modules), modules.num_bytes) == (0, 0)


def test_one_that_is_larger_than_the_limit_is_loaded_for_its_turn(root, load):
    modules = Modules(root.backbone, load, CPU, limit=1)
    for number in (0, 1, 2):
        assert modules.get(*block(number)) is modules.get(*block(number))
        assert len(modules) == 1


def test_a_component_that_cannot_be_loaded_leaves_no_trace(root, load):
    modules = Modules(root.backbone, load, CPU)
    with pytest.raises(ComponentError, match="missing"):
        modules.get(Slot("block_07", "block"), Digest("block_07"))
    assert (len(modules), modules.num_bytes, modules.loads) == (0, 0, 0)


def test_a_component_may_have_variants_too(root, load, loads):
    modules = Modules(root.backbone, load, CPU, variants={"double": lambda module: module.double()})
    plain, double = modules.get(*block(0)), modules.get(*block(0), "double")
    assert modules.get(*block(0), "double") is double
    assert (plain.mlp.fc1.weight.dtype, double.mlp.fc1.weight.dtype) == (torch.float32, torch.float64)
    assert modules.num_bytes == module_bytes(plain) + module_bytes(double) == 3 * module_bytes(plain)
    assert loads == ["block_00", "block_00"]
    modules.keep({(*block(0), "double")})
    assert modules.num_bytes == module_bytes(double)
    with pytest.raises(KeyError, match="half"):
        modules.get(*block(1), "half")
