"""Trains the heads of several children at once, where nothing but the head (and the LayerNorm before it) trains.

The children see the same batches, so one step of all of them is a few operations on stacked tensors (``HeadStep``).
Arithmetic is float32 throughout, and what a child becomes does not depend on who is stacked with it.

Shapes: K children, B batch, N tokens (class token first), D features, C classes; R and P as in ``head_step``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import functional as F

from mu2net.errors import ConfigError
from mu2net.nn.backbone import Tensors
from mu2net.nn.chain import Chain
from mu2net.nn.precision import autocast
from mu2net.nn.vit_slots import Head
from mu2net.train.head_step import HeadStep, Stack, is_finite, whole_lines
from mu2net.train.optimizer import check_shapes


@dataclass(frozen=True)
class HeadLayout:
    """The structure of a head-only child; children of equal layouts can be stacked.

    Args:
        slots: Names of the trained slots, in the order of computation: those of the LayerNorm, if it trains, and of
            the head.
        dim: Number of features D.
        classes: Number of classes C.
        eps: Epsilon of the LayerNorm; ``None`` where it does not train.
        from_tokens: Whether the features are the class token of ``[B, N, D]`` instead of ``[B, D]``.
        device: Where the parameters are.
    """

    slots: tuple[str, ...]
    dim: int
    classes: int
    eps: float | None
    from_tokens: bool
    device: torch.device


def head_layout(chain: Chain, depth: int) -> HeadLayout | None:
    """Return the structure of a child that trains its head alone, or the last LayerNorm and its head.

    Args:
        chain: The child's network, with its trainable slots set.
        depth: Number of frozen slots at its bottom.

    Returns:
        The structure; ``None`` where anything else trains, or the slots above the frozen ones are computed by other
        modules than an affine LayerNorm of the features and a ``Head`` with a bias.
    """
    slots = chain.slots[depth:]
    if chain.trainable != slots or tuple(slot.kind for slot in slots) not in (("head",), ("norm", "head")):
        return None
    *norms, head = (chain.part(slot.name) for slot in slots)
    if not isinstance(head, Head) or head.bias is None:
        return None
    eps = None
    for norm in norms:
        if not isinstance(norm, nn.LayerNorm) or norm.normalized_shape != (head.in_features,) or norm.bias is None:
            return None
        eps = norm.eps
    names = tuple(slot.name for slot in slots)
    return HeadLayout(names, head.in_features, head.out_features, eps, head.from_tokens, head.weight.device)


def is_head_only(chain: Chain, depth: int) -> bool:
    """Return whether a child can be trained by ``StackedHeads``; see ``head_layout``."""
    return head_layout(chain, depth) is not None


@dataclass(frozen=True)
class HeadChild:
    """A head-only child.

    Args:
        chain: Its network, with its trainable slots set; its parameters are read once and never written to.
        momentum: Momentum coefficient, in [0, 1[.
        is_nesterov: Whether the momentum is Nesterov's.
        inherited: Momentum buffers to start from, by slot name and parameter name; slots that are missing start
            from zeros.
    """

    chain: Chain
    momentum: float
    is_nesterov: bool
    inherited: Mapping[str, Tensors] = field(default_factory=dict)


class StackedHeads:
    """SGD with momentum for several head-only children; every one as if it were alone.

    The rules are those of ``SlotOptimizer``: gradients clipped to a global norm of 1.0 per child, momentum buffers
    inherited or zero, and no step where the loss or the gradient is not finite. Any of the children may take part in
    a call, and they may stop at different times.

    Args:
        children: The children, by id.

    Raises:
        ConfigError: There is no child, one trains other slots than its head and the LayerNorm before it, their
            layouts differ, or an inherited buffer does not fit its parameters.
    """

    def __init__(self, children: Mapping[str, HeadChild]) -> None:
        self.layout = _common_layout(children)
        self._ids = list(children)
        dim, classes, has_norm = self.layout.dim, self.layout.classes, self.layout.eps is not None
        shape = (len(children), classes + 2 * has_norm, whole_lines(dim + 1))
        parameters_KRP = torch.zeros(shape, device=self.layout.device)
        parameters_KRP[:, classes + 1 :, dim] = 1.0
        self._stack = Stack(
            parameters_KRP,
            torch.zeros(shape, device=self.layout.device),
            dim,
            classes,
            [child.momentum for child in children.values()],
            [child.is_nesterov for child in children.values()],
        )
        self._step: HeadStep | None = None
        for name, child in children.items():
            self.restore(name, {slot: child.chain.tensors(slot) for slot in self.layout.slots}, child.inherited)

    @torch.no_grad()
    def step(
        self, features: Mapping[str, torch.Tensor], labels: torch.Tensor, lrs: Mapping[str, float]
    ) -> dict[str, float | None]:
        """Take one optimiser step of every child that takes part.

        Args:
            features: What enters the trained slots of each child that takes part, by id: ``[B, N, D]`` where the head
                reads tokens, else ``[B, D]``. What children need of the same tensor object is computed once.
            labels: Class indices, shape ``[B]``.
            lrs: Learning rate of each of these children, by id.

        Returns:
            The mean loss of each of these children, by id; ``None`` where the loss or the gradient was not finite,
            and nothing of the child was changed.

        Raises:
            ConfigError: A child is not known.
            ValueError: Features do not fit the children or the labels.
        """
        if not features:
            return {}
        taking_part = self._arrange(features)
        step = self._step_of(len(taking_part), len(labels))
        losses, norms = step.gradients(self._inputs(step, [features[name] for name in taking_part]), labels)
        is_taken = [is_finite(loss, norm) for loss, norm in zip(losses, norms, strict=True)]
        step.descend(norms, [lrs[name] for name in taking_part], is_taken)
        rows = zip(taking_part, losses, is_taken, strict=True)
        found = {name: loss if is_row_taken else None for name, loss, is_row_taken in rows}
        return {name: found[name] for name in features}

    @torch.no_grad()
    def logits(self, features: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the logits of some children, ``[B, C]`` float32 by id: the bits that their chains compute.

        Args:
            features: What enters the trained slots of each of these children, by id; see ``step``.

        Raises:
            ConfigError: A child is not known.
            ValueError: Features do not fit the children.
        """
        found = {}
        with autocast(self.layout.device, "float32"):
            for name, entering in features.items():
                *norms, head = self._views(self._stack.parameters[self._row(name)]).values()
                features_BD = self._features(entering)
                for norm in norms:
                    shape, eps = (self.layout.dim,), self.layout.eps or 0.0
                    features_BD = F.layer_norm(features_BD, shape, norm["weight"], norm["bias"], eps)
                found[name] = F.linear(features_BD, head["weight"].contiguous(), head["bias"].contiguous())
        return found

    def count_correct(self, features: Mapping[str, torch.Tensor], labels: torch.Tensor) -> dict[str, int]:
        """Return how many examples each of some children classifies correctly; logits that are not finite are wrong.

        Args:
            features: What enters the trained slots of each of these children, by id; see ``step``.
            labels: Class indices of the first examples; the rest is padding and does not count.

        Raises:
            ConfigError: A child is not known.
            ValueError: Features do not fit the children.
        """
        if not features:
            return {}
        logits_KBC = torch.stack([logits_BC[: len(labels)] for logits_BC in self.logits(features).values()])
        is_correct_KB = (logits_KBC.argmax(dim=2) == labels) & torch.isfinite(logits_KBC).all(dim=2)
        return dict(zip(features, is_correct_KB.sum(dim=1).tolist(), strict=True))

    def tensors(self, child: str) -> dict[str, Tensors]:
        """Return copies of a child's trained parameters by slot and parameter name, contiguous float32 on the CPU.

        Raises:
            ConfigError: The child is not known.
        """
        return _copies(self._views(self._stack.parameters[self._row(child)]))

    def momentum(self, child: str) -> dict[str, Tensors]:
        """Return copies of a child's momentum buffers; see ``tensors``.

        Raises:
            ConfigError: The child is not known.
        """
        return _copies(self._views(self._stack.momenta[self._row(child)]))

    @torch.no_grad()
    def restore(self, child: str, tensors: Mapping[str, Tensors], momentum: Mapping[str, Tensors]) -> None:
        """Put a child to some parameters and momentum, for instance what ``tensors`` and ``momentum`` returned.

        Args:
            child: Its id.
            tensors: Parameters by slot and parameter name; slots that are missing stay as they are.
            momentum: Momentum buffers, likewise.

        Raises:
            ConfigError: The child is not known, or tensors do not fit.
        """
        row = self._row(child)
        for rows_KRP, values in ((self._stack.parameters, tensors), (self._stack.momenta, momentum)):
            for slot, views in self._views(rows_KRP[row]).items():
                if slot in values:
                    _fill(f"child {child!r}, slot {slot!r}", views, values[slot])

    def _row(self, child: str) -> int:
        if child not in self._ids:
            raise ConfigError(f"child {child!r} is not one of the stacked children {sorted(self._ids)}")
        return self._ids.index(child)

    def _views(self, rows_RP: torch.Tensor) -> dict[str, Tensors]:
        """Return a child's parameters or momentum buffers as views, by slot and parameter name."""
        dim, classes = self.layout.dim, self.layout.classes
        named = [{"weight": rows_RP[:classes, :dim], "bias": rows_RP[:classes, dim]}]
        if self.layout.eps is not None:
            named.insert(0, {"weight": rows_RP[classes, :dim], "bias": rows_RP[classes + 1, :dim]})
        return dict(zip(self.layout.slots, named, strict=True))

    def _arrange(self, features: Mapping[str, torch.Tensor]) -> list[str]:
        """Move the children that take part to the first rows, and return them in the order of the rows."""
        if list(features) == self._ids[: len(features)]:
            return self._ids[: len(features)]
        rows = sorted(self._row(name) for name in features)
        if rows[-1] >= len(rows):
            rows += sorted(set(range(len(self._ids))) - set(rows))
            self._ids = [self._ids[row] for row in rows]
            self._stack, self._step = self._stack.rows(rows), None
        return self._ids[: len(features)]

    def _step_of(self, number: int, batch_size: int) -> HeadStep:
        """Return the buffers for steps of the first children with batches of some size."""
        if self._step is None or (self._step.number, self._step.batch_size) != (number, batch_size):
            self._step = HeadStep(self._stack.first(number), batch_size)
        return self._step

    def _features(self, entering: torch.Tensor) -> torch.Tensor:
        """Return float32 features ``[B, D]`` from what enters the trained slots."""
        dim, from_tokens = self.layout.dim, self.layout.from_tokens
        if entering.dim() != (3 if from_tokens else 2) or entering.shape[-1] != dim:
            expected = f"[B, N, {dim}]" if from_tokens else f"[B, {dim}]"
            raise ValueError(f"features have shape {list(entering.shape)}; expected {expected}")
        features_BD = entering[:, 0] if from_tokens else entering
        return features_BD.float()

    def _inputs(self, step: HeadStep, entering: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return what the heads multiply, for every child; computed once for children with the same tensor."""
        distinct = {id(tensor): tensor for tensor in entering}
        features = [self._features(tensor) for tensor in distinct.values()]
        wrong = next((len(one) for one in features if len(one) != step.batch_size), None)
        if wrong is not None:
            raise ValueError(f"there are features of {wrong} examples, but {step.batch_size} labels")
        if self.layout.eps is not None:
            features = [F.layer_norm(one, (self.layout.dim,), eps=self.layout.eps) for one in features]
        inputs = dict(zip(distinct, step.inputs(features), strict=True))
        return [inputs[id(tensor)] for tensor in entering]


def _common_layout(children: Mapping[str, HeadChild]) -> HeadLayout:
    """Return the layout of all children.

    Raises:
        ConfigError: There is no child, or their layouts cannot be stacked.
    """
    if not children:
        raise ConfigError("there is no child to stack; expected at least one")
    layouts = {name: head_layout(child.chain, child.chain.frozen_prefix) for name, child in children.items()}
    found: set[HeadLayout] = set()
    for name, layout in layouts.items():
        if layout is None:
            trained = [slot.name for slot in children[name].chain.trainable]
            raise ConfigError(
                f"child {name!r} trains {trained}; only heads with the LayerNorm before them can be stacked"
            )
        found.add(layout)
    if len(found) != 1:
        raise ConfigError(f"children {sorted(layouts)} have {len(found)} layouts; stack those of one layout together")
    return found.pop()


def _fill(owner: str, views: Mapping[str, torch.Tensor], values: Mapping[str, torch.Tensor]) -> None:
    check_shapes(f"{owner}: parameters or inherited momentum", views, values)
    for name, view in views.items():
        view.copy_(values[name])


def _copies(slots: Mapping[str, Tensors]) -> dict[str, Tensors]:
    return {
        slot: {name: view.to("cpu", torch.float32, copy=True).contiguous() for name, view in named.items()}
        for slot, named in slots.items()
    }
