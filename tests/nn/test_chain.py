import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from mu2net.core.component import Slot
from mu2net.errors import UnknownNameError
from mu2net.nn.chain import Chain, build_chain


class Plus(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = nn.Parameter(torch.tensor(float(value)), requires_grad=False)

    def forward(self, activation):
        return activation * 2 + self.value


def counting(length):
    return Chain([(Slot(f"block_{index:02d}", "block"), Plus(index)) for index in range(length)])


@settings(deadline=None, max_examples=50)
@given(length=st.integers(1, 8), data=st.data())
def test_any_split_computes_what_the_whole_computes(length, data):
    chain = counting(length)
    start = torch.tensor([1.0, -3.0])
    first = data.draw(st.integers(0, length))
    second = data.draw(st.integers(first, length))
    middle = chain.forward_range(chain.forward_range(start, 0, first), first, second)
    assert torch.equal(chain.forward_range(middle, second), chain(start))


def test_a_range_runs_exactly_its_slots():
    chain, ran = counting(5), []
    for slot in chain.slots:
        chain.part(slot.name).register_forward_hook(lambda *_, name=slot.name: ran.append(name))
    chain.forward_range(torch.zeros(1), 1, 3)
    assert ran == ["block_01", "block_02"]


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (3, 2), (0, 6)])
def test_a_range_outside_the_chain_is_an_error(start, stop):
    with pytest.raises(ValueError, match="no range of a chain of 5"):
        counting(5).forward_range(torch.zeros(1), start, stop)


def test_a_vit_resumes_from_any_slot_bit_for_bit(make_vit, images):
    chain = make_vit().chain()
    expected = chain(images)
    for stop in range(len(chain) + 1):
        assert torch.equal(chain.forward_range(chain.forward_range(images, 0, stop), stop), expected)


def test_training_mode_changes_nothing(make_vit, images):
    chain = make_vit().chain()
    assert torch.equal(chain.train()(images), chain.eval()(images))


def test_parameters_are_the_components_unless_copies_are_asked_for(make_vit):
    network = make_vit()
    norm = dict(network.components)[Slot("norm", "norm")]["weight"]
    assert network.chain().part("norm").weight.data_ptr() == norm.data_ptr()
    assert network.chain(copy=True).part("norm").weight.data_ptr() != norm.data_ptr()


def test_names_of_parameters_are_the_names_of_tensors(make_vit):
    network = make_vit(layer_scale=True)
    chain = network.chain()
    for slot, tensors in network.components:
        assert set(chain.part(slot.name).state_dict()) == set(tensors)


def test_only_trainable_slots_get_gradients(make_vit, images):
    chain = make_vit().chain(copy=True)
    assert chain.trainable == ()
    assert chain.frozen_prefix == len(chain)
    chain.set_trainable(["block_01", "head"])
    assert [slot.name for slot in chain.trainable] == ["block_01", "head"]
    assert chain.frozen_prefix == chain.index("block_01")
    F.cross_entropy(chain(images), torch.tensor([0, 1, 2])).backward()
    for slot in chain.slots:
        has_gradient = [parameter.grad is not None for parameter in chain.part(slot.name).parameters()]
        assert has_gradient == [slot.name in ("block_01", "head")] * len(has_gradient)


def test_training_does_not_touch_frozen_components(make_vit, images):
    network = make_vit()
    before = {slot.name: {n: t.clone() for n, t in tensors.items()} for slot, tensors in network.components}
    chain = network.chain(copy=True)
    chain.set_trainable(["block_02"])
    optimizer = torch.optim.SGD([p for p in chain.parameters() if p.requires_grad], lr=0.1)
    F.cross_entropy(chain(images), torch.tensor([0, 1, 2])).backward()
    optimizer.step()
    for slot, tensors in network.components:
        assert all(torch.equal(tensors[name], before[slot.name][name]) for name in tensors)
        changed = any(not torch.equal(tensor, tensors[name]) for name, tensor in chain.tensors(slot.name).items())
        assert changed == (slot.name == "block_02")


def test_choosing_again_freezes_what_trained_before(make_vit):
    chain = make_vit().chain()
    chain.set_trainable(["block_01"])
    chain.set_trainable(["head"])
    assert [slot.name for slot in chain.trainable] == ["head"]


def test_tensors_are_read_back_as_they_were_given(make_vit):
    network = make_vit()
    chain = network.chain()
    chain.set_trainable(["block_00"])
    for slot, tensors in network.components:
        back = chain.tensors(slot.name)
        assert list(back) == list(chain.part(slot.name).state_dict())
        assert all(torch.equal(back[name], tensors[name]) for name in tensors)
        assert all(not t.requires_grad and t.is_contiguous() for t in back.values())


def test_an_unknown_slot_is_an_error_and_changes_nothing(make_vit):
    chain = make_vit().chain()
    chain.set_trainable(["head"])
    for ask in (chain.part, chain.tensors, chain.index, lambda name: chain.set_trainable(["norm", name])):
        with pytest.raises(UnknownNameError, match="unknown slot 'block_99'"):
            ask("block_99")
    assert [slot.name for slot in chain.trainable] == ["head"]


def test_a_slot_comes_once():
    slot = Slot("block_00", "block")
    with pytest.raises(ValueError, match="not unique"):
        Chain([(slot, Plus(0)), (slot, Plus(1))])


def test_the_chain_of_a_shorter_path_is_a_chain(make_vit, images):
    network = make_vit()
    shorter = [pair for pair in network.components if pair[0].name != "block_02"]
    assert build_chain(network.backbone, shorter)(images).shape == (3, 5)
