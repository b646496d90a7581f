import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from mu2net.core.anatomy import HEAD, adapter_slot
from mu2net.core.component import Slot
from mu2net.errors import UnknownNameError
from mu2net.nn.attention import select_kernel
from mu2net.nn.chain import Chain, build_chain
from mu2net.nn.roots import load_root

GEOMETRIES = [
    {"dim": 48, "depth": 3, "heads": 3, "patch_size": 4, "image_size": 16, "mlp_dim": 96},
    {"dim": 64, "depth": 1, "heads": 1, "patch_size": 8, "image_size": 40, "mlp_dim": 256, "layer_scale": True},
    {"dim": 36, "depth": 2, "heads": 6, "patch_size": 5, "image_size": 15, "mlp_dim": 50, "qkv_bias": False},
]


def with_adapters(network):
    """Return the network's components with an adapter that does something before every block."""
    generator, grown = torch.Generator().manual_seed(4), []
    for slot, tensors in network.components:
        if slot.kind == "block":
            place = adapter_slot(int(slot.name.removeprefix("block_")))
            blank = network.backbone.fresh(place, 0, adapter_dim=8)
            grown.append((place, {n: t + 0.1 * torch.randn(t.shape, generator=generator) for n, t in blank.items()}))
        grown.append((slot, tensors))
    return grown


def all_tokens(chain, images):
    """Return the logits of a chain that computes every token in every slot."""
    activation = images
    for slot in chain.slots:
        activation = chain.part(slot.name)(activation)
    return activation


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


def test_only_slots_below_the_last_block_compute_all_tokens(make_vit):
    chain = make_vit().chain()
    positions = chain.part("tokens").pos_embed.shape[1]
    last = chain.index("block_02")
    assert [chain.tokens_from(start) for start in (0, last - 1, last, len(chain))] == [positions, positions, 0, 0]


def test_patches_enter_every_slot_from_the_positions_to_the_last_block(make_vit):
    chain = make_vit().chain()
    first, last = chain.index("tokens") + 1, chain.index("block_02")
    found = [chain.patches_from(start) for start in (0, first, last, last + 1, len(chain))]
    assert found == [first, first, last, None, None]


def test_networks_without_batch_norms_measure_nothing(make_vit, images):
    chain = make_vit().chain(copy=True)
    chain.set_trainable(["block_01", "head"])
    assert chain.measured == ()
    before = {name: value.clone() for name, value in chain.state_dict().items()}
    chain.measure_statistics(images)
    assert all(torch.equal(value, before[name]) for name, value in chain.state_dict().items())


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


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("kernel", ["explicit", "sdpa"])
def test_the_class_token_alone_gives_the_same_logits_and_gradients(make_vit, geometry, kernel):
    network = make_vit(**geometry)
    side, names = geometry["image_size"], [slot.name for slot, _ in with_adapters(network)]
    batch = torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(3))
    results = []
    for compute in (lambda chain: chain(batch), lambda chain: all_tokens(chain, batch)):
        chain = build_chain(network.backbone, with_adapters(network), copy=True)
        select_kernel(chain, kernel)
        chain.set_trainable(names)
        logits = compute(chain)
        F.cross_entropy(logits, torch.tensor([0, 1, 2, 3])).backward()
        results.append((logits.detach(), [parameter.grad for parameter in chain.parameters()]))
    (logits, gradients), (expected, their_gradients) = results
    assert expected.std() > 0.1
    torch.testing.assert_close(logits, expected, atol=1e-6, rtol=1e-6)
    for gradient, its in zip(gradients, their_gradients, strict=True):
        torch.testing.assert_close(gradient, its, atol=1e-6, rtol=1e-6)


def test_the_class_token_alone_stays_near_under_bfloat16(make_vit, images):
    network = make_vit()
    chain = build_chain(network.backbone, with_adapters(network))
    exact = chain(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        alone, together = chain(images), all_tokens(chain, images)
    scale = exact.abs().max()
    assert (alone - together).abs().max() < 0.02 * scale
    assert 0 < (alone - exact).abs().max() < 0.05 * scale


def test_the_last_block_of_the_chain_computes_the_class_token_alone(make_vit, images):
    network = make_vit()
    for depth in (3, 2, 1):
        kept = [pair for pair in network.components if pair[0].kind != "block" or int(pair[0].name[-2:]) < depth]
        chain = build_chain(network.backbone, kept)
        last = f"block_{depth - 1:02d}"
        before, after = (chain.forward_range(images, 0, chain.index(last) + more) for more in (0, 1))
        assert before.shape == (3, 17, 48)
        assert after.shape == (3, 1, 48)
        computed = [chain.computed_as(index) for index in range(len(chain))]
        assert computed == [f"{name}:class_token" if name == last else name for name in (s.name for s in chain.slots)]


def test_a_chain_without_a_head_that_reads_the_class_token_computes_all_tokens(make_vit, images):
    network = make_vit()
    chain = build_chain(network.backbone, network.components[:-1])
    assert chain(images).shape == (3, 17, 48)
    assert [chain.computed_as(index) for index in range(len(chain))] == [slot.name for slot in chain.slots]


def test_the_slots_of_a_convolutional_network_compute_what_their_names_say():
    root = load_root("efficientnet-lite0")
    chain = build_chain(root.backbone, [*root.components, (HEAD, root.backbone.fresh(HEAD, 0, num_classes=3))])
    assert [chain.computed_as(index) for index in range(len(chain))] == [slot.name for slot in chain.slots]


@pytest.mark.parametrize("index", [-1, 3])
def test_a_place_outside_the_chain_is_an_error(index):
    with pytest.raises(IndexError, match=f"slot {index} does not exist in a chain of 3"):
        counting(3).computed_as(index)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_logits_of_an_image_do_not_depend_on_the_others(make_vit, precision):
    chain = make_vit().chain()
    batch = torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(5))
    order = torch.randperm(16, generator=torch.Generator().manual_seed(6))
    others = torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(7))
    others[3] = batch[3]
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == torch.bfloat16):
        logits = chain(batch)
        assert torch.equal(chain(batch[order]), logits[order])
        assert torch.equal(chain(others)[3], logits[3])


def test_no_graph_is_recorded_below_the_lowest_trainable_slot(make_vit, images):
    chain = make_vit().chain(copy=True)
    chain.set_trainable(["block_01", "head"])
    records = {}
    for slot in chain.slots:
        chain.part(slot.name).register_forward_hook(
            lambda _, inputs, output, name=slot.name: records.update({name: output.requires_grad})
        )
    chain(images)
    names = [slot.name for slot in chain.slots]
    lowest = chain.frozen_prefix
    assert records == {name: index >= lowest for index, name in enumerate(names)}


def test_frozen_slots_above_a_trainable_one_pass_gradients_and_get_none(make_vit, images):
    chain = make_vit().chain(copy=True)
    chain.set_trainable(["block_00"])
    entering = chain.forward_range(images, 0, 2)
    assert not entering.requires_grad
    logits = chain.forward_range(entering, 2)
    leaves, seen, open_nodes = set(), set(), [logits.grad_fn]
    while open_nodes:
        node = open_nodes.pop()
        if node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            leaves.add(id(node.variable))
        open_nodes += [parent for parent, _ in node.next_functions if parent is not None]
    assert leaves == {id(parameter) for parameter in chain.part("block_00").parameters()}
    logits.square().sum().backward()
    for name, parameter in chain.parts.named_parameters():
        assert (parameter.grad is not None) == name.startswith("block_00.")
