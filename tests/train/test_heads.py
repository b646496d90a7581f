from dataclasses import dataclass, field
from functools import lru_cache

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mu2net.core.component import Slot
from mu2net.errors import ConfigError
from mu2net.nn.assign import assign
from mu2net.nn.backbone import Tensors
from mu2net.nn.chain import Chain
from mu2net.nn.vit_slots import Head
from mu2net.train.child import ModuleFactory
from mu2net.train.evaluate import count_correct
from mu2net.train.heads import HeadChild, StackedHeads, head_layout, is_head_only
from mu2net.train.optimizer import MAX_GRADIENT_NORM, SlotOptimizer

HEAD, NORM, TRUNK = Slot("head", "head"), Slot("norm", "norm"), Slot("block_00", "block")


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_chain(dim: int, classes: int, *, has_norm: bool, seed: int = 0, eps: float = 1e-6) -> Chain:
    """A trunk that does nothing, and a random head behind a random LayerNorm or none."""
    random = generator(seed)
    weights = {"weight": torch.randn(classes, dim, generator=random) * 0.05, "bias": torch.zeros(classes)}
    head = assign(Head(dim, classes, from_tokens=has_norm), weights, "head")
    slots: list[tuple[Slot, nn.Module]] = [(TRUNK, nn.Identity())]
    if has_norm:
        affine = {"weight": torch.rand(dim, generator=random) + 0.5, "bias": torch.randn(dim, generator=random) * 0.1}
        slots.append((NORM, assign(nn.LayerNorm(dim, eps=eps, device="meta"), affine, "norm")))
    chain = Chain([*slots, (HEAD, head)])
    chain.set_trainable(["norm", "head"] if has_norm else ["head"])
    return chain


def random_momentum(chain: Chain, seed: int) -> dict[str, Tensors]:
    random = generator(seed)
    return {
        slot.name: {
            name: torch.randn(value.shape, generator=random) * 0.02
            for name, value in chain.part(slot.name).named_parameters()
        }
        for slot in chain.trainable
    }


@lru_cache(maxsize=32)
def make_batch(dim: int, classes: int, batch: int, seed: int, *, has_norm: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of some clusters, and which cluster each belongs to."""
    centres = torch.randn(classes, dim, generator=generator(1000)) * 0.5
    labels = torch.randint(classes, (batch,), generator=generator(seed))
    features = centres[labels] + torch.randn(batch, dim, generator=generator(seed + 1)) + 0.3
    return features[:, None] if has_norm else features, labels


def equal(first: dict[str, Tensors], second: dict[str, Tensors]) -> bool:
    return all(
        torch.equal(value, second[slot][name]) for slot, named in first.items() for name, value in named.items()
    ) and list(first) == list(second)


def distance(first: dict[str, Tensors], second: dict[str, Tensors]) -> float:
    return max(
        float((value - second[slot][name]).abs().max())
        for slot, named in first.items()
        for name, value in named.items()
    )


@dataclass
class Reference:
    """A child that is trained by backpropagation."""

    child: HeadChild
    norms: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chain = self.child.chain
        self.slots = {slot.name: self.chain.part(slot.name) for slot in self.chain.trainable}
        self.optimizer = SlotOptimizer(
            self.slots,
            momentum=self.child.momentum,
            is_nesterov=self.child.is_nesterov,
            inherited=self.child.inherited,
        )

    def step(self, features: torch.Tensor, labels: torch.Tensor, lr: float) -> float:
        loss = F.cross_entropy(self.chain.forward_range(features, self.chain.frozen_prefix), labels)
        parameters = [value for module in self.slots.values() for value in module.parameters()]
        gradients = torch.autograd.grad(loss, parameters, retain_graph=True)
        self.norms.append(float(torch.cat([gradient.flatten() for gradient in gradients]).norm()))
        taken = self.optimizer.step([loss], lr)
        assert taken is not None
        return taken

    def tensors(self) -> dict[str, Tensors]:
        return {name: self.chain.tensors(name) for name in self.slots}


@pytest.mark.parametrize("has_norm", [True, False])
@pytest.mark.parametrize(("momentum", "is_nesterov"), [(0.9, False), (0.9, True), (0.5, True), (0.0, True)])
@pytest.mark.parametrize("inherits", [True, False])
def test_training_is_that_of_backpropagation_and_the_optimizer(has_norm, momentum, is_nesterov, inherits):
    chain = make_chain(48, 5, has_norm=has_norm)
    inherited = random_momentum(chain, 1) if inherits else {}
    child = HeadChild(chain, momentum, is_nesterov, inherited)
    stack, reference = StackedHeads({"a": child}), Reference(child)
    for number in range(60):
        features, labels = make_batch(48, 5, 16, number, has_norm=has_norm)
        lr = 0.5 * (1 - momentum) * (1 - number / 60)
        loss = stack.step({"a": features}, labels, {"a": lr})["a"]
        assert loss == pytest.approx(reference.step(features, labels, lr), abs=2e-6)
        assert distance(stack.tensors("a"), reference.tensors()) < 1e-6
        assert distance(stack.momentum("a"), reference.optimizer.momentum()) < 1e-6
    assert max(reference.norms) > MAX_GRADIENT_NORM > min(reference.norms)


@pytest.mark.parametrize("batch", [1, 7, 64])
@pytest.mark.parametrize(("dim", "classes"), [(192, 10), (384, 100), (1280, 2), (1280, 37)])
def test_all_shapes_train_as_by_backpropagation(dim, classes, batch):
    has_norm = dim < 1000
    child = HeadChild(make_chain(dim, classes, has_norm=has_norm), 0.9, True)
    stack, reference = StackedHeads({"a": child}), Reference(child)
    for number in range(5):
        features, labels = make_batch(dim, classes, batch, number, has_norm=has_norm)
        loss = stack.step({"a": features}, labels, {"a": 0.02})["a"]
        assert loss == pytest.approx(reference.step(features, labels, 0.02), abs=5e-6)
    assert distance(stack.tensors("a"), reference.tensors()) < 1e-6


def test_the_chain_itself_is_not_written_to():
    chain = make_chain(16, 3, has_norm=True)
    before = {name: chain.tensors(name) for name in ("norm", "head")}
    stack = StackedHeads({"a": HeadChild(chain, 0.9, False)})
    assert equal(stack.tensors("a"), before)
    features, labels = make_batch(16, 3, 4, 0, has_norm=True)
    stack.step({"a": features}, labels, {"a": 0.1})
    assert equal({name: chain.tensors(name) for name in before}, before)
    assert not equal(stack.tensors("a"), before)


def make_children(dim: int, classes: int, *, has_norm: bool) -> dict[str, HeadChild]:
    """Eight children that differ in everything that can differ."""
    children = {}
    for number in range(8):
        chain = make_chain(dim, classes, has_norm=has_norm, seed=number)
        inherited = random_momentum(chain, number) if number % 3 == 0 else {}
        children[f"child-{number}"] = HeadChild(chain, (0.9, 0.5, 0.0, 0.98)[number % 4], number % 2 == 1, inherited)
    return children


def train(children: dict[str, HeadChild], dim: int, classes: int, batch: int, *, has_norm: bool) -> StackedHeads:
    """Train for 20 steps; child 1 meets a feature that is not finite, child 2 ends early, three parents have children.

    Returns:
        The stack; every child was trained as it would be in any other stack.
    """
    stack = StackedHeads(children)
    ended: set[str] = set()
    for number in range(20):
        features, labels = make_batch(dim, classes, batch, number, has_norm=has_norm)
        parents = [features, features * 2, features * 3]
        if number == 9:
            ended.add("child-2")
        entering = {name: parents[int(name[-1]) % 3] for name in children if name not in ended}
        if number == 5 and "child-1" in entering:
            entering["child-1"] = entering["child-1"].clone().fill_(float("inf"))
        losses = stack.step(entering, labels, {name: 0.01 * (1 + int(name[-1])) for name in entering})
        assert list(losses) == list(entering)
        ended.update(name for name, loss in losses.items() if loss is None)
    assert ended & children.keys() == {"child-1", "child-2"} & children.keys()
    return stack


@pytest.mark.parametrize("batch", [1, 7, 64])
@pytest.mark.parametrize("classes", [2, 10, 37, 100])
@pytest.mark.parametrize(("dim", "has_norm"), [(192, True), (384, True), (384, False), (1280, False)])
def test_bits_do_not_depend_on_who_else_is_in_the_stack(dim, has_norm, classes, batch):
    children = make_children(dim, classes, has_norm=has_norm)
    alone = {name: train({name: child}, dim, classes, batch, has_norm=has_norm) for name, child in children.items()}
    for names in (list(children), list(children)[::-1][:5], list(children)[:3], ["child-4", "child-1"]):
        stack = train({name: children[name] for name in names}, dim, classes, batch, has_norm=has_norm)
        for name in names:
            assert equal(stack.tensors(name), alone[name].tensors(name)), (names, name)
            assert equal(stack.momentum(name), alone[name].momentum(name)), (names, name)


@pytest.mark.parametrize(("dim", "classes", "has_norm"), [(384, 100, True), (1280, 37, False), (1280, 100, True)])
def test_bits_do_not_depend_on_the_others_with_two_threads(dim, classes, has_norm):
    torch.set_num_threads(2)
    names = ("child-0", "child-3", "child-7")
    children = {name: make_children(dim, classes, has_norm=has_norm)[name] for name in names}
    together, alone = StackedHeads(children), {name: StackedHeads({name: children[name]}) for name in names}
    for number in range(3):
        features, labels = make_batch(dim, classes, 64, number, has_norm=has_norm)
        losses = together.step(dict.fromkeys(names, features), labels, dict.fromkeys(names, 0.1))
        for name, stack in alone.items():
            assert stack.step({name: features}, labels, {name: 0.1}) == {name: losses[name]}
    for name, stack in alone.items():
        assert equal(together.tensors(name), stack.tensors(name)), name


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_loss_that_is_not_finite_changes_nothing_of_its_child_alone(bad):
    children = make_children(32, 4, has_norm=True)
    stack, without = StackedHeads(children), StackedHeads(children)
    features, labels = make_batch(32, 4, 8, 0, has_norm=True)
    broken = features.clone()
    broken[3, 0, 5] = bad
    before = stack.tensors("child-3"), stack.momentum("child-3")
    losses = stack.step({**dict.fromkeys(children, features), "child-3": broken}, labels, dict.fromkeys(children, 0.1))
    others = [name for name in children if name != "child-3"]
    expected = without.step(dict.fromkeys(others, features), labels, dict.fromkeys(others, 0.1))
    assert losses == {**expected, "child-3": None}
    assert equal(stack.tensors("child-3"), before[0])
    assert equal(stack.momentum("child-3"), before[1])
    for name in others:
        assert equal(stack.tensors(name), without.tensors(name))
    alone = StackedHeads({"child-3": children["child-3"]})
    again = stack.step(dict.fromkeys(children, features), labels, dict.fromkeys(children, 0.1))
    assert again["child-3"] == alone.step({"child-3": features}, labels, {"child-3": 0.1})["child-3"]
    assert equal(stack.tensors("child-3"), alone.tensors("child-3"))


def test_a_gradient_that_is_not_finite_changes_nothing_though_the_loss_is():
    chain = make_chain(4, 2, has_norm=False)
    with torch.no_grad():
        chain.part("head").weight.zero_()
    stack = StackedHeads({"a": HeadChild(chain, 0.9, False)})
    before = stack.tensors("a"), stack.momentum("a")
    features = torch.full((2, 4), 1e30)
    assert stack.step({"a": features}, torch.tensor([0, 0]), {"a": 0.1}) == {"a": None}
    assert equal(stack.tensors("a"), before[0])
    assert equal(stack.momentum("a"), before[1])


def test_a_loss_that_is_not_finite_changes_nothing_though_the_gradient_is():
    chain = make_chain(1, 2, has_norm=False)
    with torch.no_grad():
        chain.part("head").weight.copy_(torch.tensor([[3e38], [-3e38]]))
    stack = StackedHeads({"a": HeadChild(chain, 0.9, False)})
    before = stack.tensors("a")
    assert stack.step({"a": torch.ones(1, 1)}, torch.tensor([1]), {"a": 0.1}) == {"a": None}
    assert equal(stack.tensors("a"), before)


def test_a_child_may_pause_and_go_on():
    children = {
        name: HeadChild(make_chain(24, 3, has_norm=True, seed=seed), 0.9, False) for seed, name in enumerate("ab")
    }
    stack, alone = StackedHeads(children), StackedHeads({"a": children["a"]})
    for number, names in enumerate(("ab", "b", "ab", "ba", "b", "a", "")):
        features, labels = make_batch(24, 3, 8, number, has_norm=True)
        losses = stack.step(dict.fromkeys(names, features), labels, dict.fromkeys(names, 0.1))
        assert list(losses) == list(names)
        if "a" in names:
            assert alone.step({"a": features}, labels, {"a": 0.1})["a"] == losses["a"]
    assert equal(stack.tensors("a"), alone.tensors("a"))


def test_a_restored_child_goes_on_as_before():
    children = {
        name: HeadChild(make_chain(24, 3, has_norm=True, seed=seed), 0.9, True) for seed, name in enumerate("ab")
    }
    stack = StackedHeads(children)

    def go() -> None:
        for number in range(5):
            features, labels = make_batch(24, 3, 8, number, has_norm=True)
            stack.step({"a": features, "b": features}, labels, {"a": 0.1, "b": 0.2})

    go()
    kept = {name: (stack.tensors(name), stack.momentum(name)) for name in children}
    go()
    after = {name: (stack.tensors(name), stack.momentum(name)) for name in children}
    assert not equal(after["a"][0], kept["a"][0])
    for name, state in kept.items():
        stack.restore(name, *state)
        assert equal(stack.tensors(name), state[0])
    go()
    for name, (tensors, momentum) in after.items():
        assert equal(stack.tensors(name), tensors)
        assert equal(stack.momentum(name), momentum)


def test_states_are_contiguous_copies():
    chain = make_chain(24, 3, has_norm=True)
    stack = StackedHeads({"a": HeadChild(chain, 0.9, False)})
    for state in (stack.tensors("a"), stack.momentum("a")):
        shapes = {name: {key: tuple(value.shape) for key, value in named.items()} for name, named in state.items()}
        assert shapes == {"norm": {"weight": (24,), "bias": (24,)}, "head": {"weight": (3, 24), "bias": (3,)}}
        for named in state.values():
            for value in named.values():
                assert value.is_contiguous()
                assert value.dtype == torch.float32
                value.fill_(7.0)
    assert equal(stack.tensors("a"), {name: chain.tensors(name) for name in ("norm", "head")})


@pytest.mark.parametrize(("dim", "classes", "has_norm"), [(192, 10, True), (384, 37, True), (1280, 100, False)])
def test_logits_are_the_bits_of_the_chain(dim, classes, has_norm):
    chain = make_chain(dim, classes, has_norm=has_norm)
    stack = StackedHeads({"a": HeadChild(chain, 0.9, False)})
    for batch in (1, 7, 128):
        features, labels = make_batch(dim, classes, batch, 3, has_norm=has_norm)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            expected = chain.forward_range(features, chain.frozen_prefix)
            found = stack.logits({"a": features})["a"]
            correct = stack.count_correct({"a": features}, labels)
        assert torch.equal(found, expected)
        assert correct == {"a": count_correct(expected, labels)}


def test_padding_and_logits_that_are_not_finite_are_not_correct():
    children = {
        name: HeadChild(make_chain(8, 2, has_norm=False, seed=seed), 0.9, False) for seed, name in enumerate("ab")
    }
    stack = StackedHeads(children)
    features, _ = make_batch(8, 2, 6, 0, has_norm=False)
    broken = features.clone()
    broken[0, 0] = float("nan")
    labels = {name: logits.argmax(dim=1) for name, logits in stack.logits(dict.fromkeys("ab", features)).items()}
    assert stack.count_correct({"a": features}, labels["a"]) == {"a": 6}
    assert stack.count_correct({"b": features, "a": broken}, labels["a"][:4])["a"] == 3
    assert stack.count_correct({}, labels["a"]) == {}


def test_arithmetic_is_float32_also_under_autocast():
    children = {"a": HeadChild(make_chain(48, 5, has_norm=True), 0.9, True)}
    plain, cast, rounded = StackedHeads(children), StackedHeads(children), StackedHeads(children)
    for number in range(3):
        features, labels = make_batch(48, 5, 16, number, has_norm=True)
        features = features.bfloat16()
        plain.step({"a": features.float()}, labels, {"a": 0.1})
        rounded.step({"a": features}, labels, {"a": 0.1})
        with torch.autocast("cpu", torch.bfloat16):
            cast.step({"a": features.float()}, labels, {"a": 0.1})
    assert equal(plain.tensors("a"), cast.tensors("a"))
    assert equal(plain.tensors("a"), rounded.tensors("a"))


def test_the_class_token_alone_is_read():
    children = {"a": HeadChild(make_chain(16, 3, has_norm=True), 0.9, False)}
    one, all_tokens = StackedHeads(children), StackedHeads(children)
    features, labels = make_batch(16, 3, 4, 0, has_norm=True)
    more = torch.cat((features, torch.full((4, 2, 16), 9.0)), dim=1)
    assert one.step({"a": features}, labels, {"a": 0.1}) == all_tokens.step({"a": more}, labels, {"a": 0.1})
    assert equal(one.tensors("a"), all_tokens.tensors("a"))


@pytest.mark.parametrize(
    ("clones", "adapters", "expected"),
    [
        (("norm",), (), ("norm", "head")),
        ((), (), ("head",)),
        (("block_02", "norm"), (), None),
        (("block_00",), (), None),
        (("norm",), (1,), None),
    ],
)
def test_a_child_is_head_only_where_nothing_below_the_norm_trains(vit, source, job, clones, adapters, expected):
    chain = ModuleFactory(vit, source, torch.device("cpu"), (0,)).chain(job("a", *clones, adapters=adapters))
    layout = head_layout(chain, chain.frozen_prefix)
    assert is_head_only(chain, chain.frozen_prefix) == (expected is not None)
    assert (layout.slots if layout else None) == expected
    assert not is_head_only(chain, chain.frozen_prefix - 1)


def test_other_modules_are_not_head_only():
    linear = Chain([(TRUNK, nn.Identity()), (HEAD, nn.Linear(4, 2))])
    no_affine = Chain([(NORM, nn.LayerNorm(4, bias=False)), (HEAD, make_chain(4, 2, has_norm=True).part("head"))])
    tokens = Chain([(NORM, nn.LayerNorm((3, 4))), (HEAD, make_chain(4, 2, has_norm=True).part("head"))])
    other = Chain([(NORM, nn.BatchNorm1d(4)), (HEAD, make_chain(4, 2, has_norm=True).part("head"))])
    for chain in (linear, no_affine, tokens, other):
        chain.set_trainable([slot.name for slot in chain.slots])
        assert not is_head_only(chain, chain.frozen_prefix if chain is not linear else 1)


def test_a_frozen_head_is_not_head_only():
    chain = make_chain(4, 2, has_norm=True)
    chain.set_trainable(["norm"])
    assert not is_head_only(chain, 1)


def test_children_that_cannot_be_stacked_are_named():
    with pytest.raises(ConfigError, match="no child"):
        StackedHeads({})
    chain = make_chain(8, 2, has_norm=True)
    chain.set_trainable(["norm"])
    with pytest.raises(ConfigError, match=r"child 'a' trains \['norm'\]"):
        StackedHeads({"a": HeadChild(chain, 0.9, False)})
    mixed = {str(dim): HeadChild(make_chain(dim, 2, has_norm=True), 0.9, False) for dim in (8, 16)}
    with pytest.raises(ConfigError, match=r"children \['16', '8'\] have 2 layouts"):
        StackedHeads(mixed)


def test_momentum_that_does_not_fit_is_an_error():
    chain = make_chain(8, 2, has_norm=True)
    inherited = {"head": {"weight": torch.zeros(3, 8), "bias": torch.zeros(3)}}
    with pytest.raises(ConfigError, match="child 'a', slot 'head'"):
        StackedHeads({"a": HeadChild(chain, 0.9, False, inherited)})


def test_features_and_children_that_do_not_fit_are_errors():
    stack = StackedHeads({"a": HeadChild(make_chain(8, 2, has_norm=True), 0.9, False)})
    labels = torch.tensor([0, 1])
    with pytest.raises(ConfigError, match=r"child 'b' is not one of the stacked children \['a'\]"):
        stack.step({"b": torch.zeros(2, 1, 8)}, labels, {"b": 0.1})
    with pytest.raises(ValueError, match=r"shape \[2, 1, 9\]; expected \[B, N, 8\]"):
        stack.step({"a": torch.zeros(2, 1, 9)}, labels, {"a": 0.1})
    with pytest.raises(ValueError, match=r"shape \[2, 8\]; expected \[B, N, 8\]"):
        stack.logits({"a": torch.zeros(2, 8)})
    with pytest.raises(ValueError, match="features of 1 examples, but 2 labels"):
        stack.step({"a": torch.zeros(1, 1, 8)}, labels, {"a": 0.1})
