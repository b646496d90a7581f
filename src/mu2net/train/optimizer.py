"""Stochastic gradient descent over the slots that a child trains, with momentum that can be inherited."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import nn
from torch.optim.sgd import sgd

from mu2net.errors import ConfigError
from mu2net.nn.backbone import Tensors

MAX_GRADIENT_NORM = 1.0
"""Global norm that gradients are clipped to (arXiv 2205.12755)."""

_FUSED_DEVICES = frozenset({"cpu", "cuda", "mps"})


class SlotOptimizer:
    """SGD with momentum over the parameters of the trained slots, and over nothing else.

    Gradients are clipped to a global norm of 1.0 over these parameters. Every parameter starts with a momentum
    buffer: an inherited one, or zeros (which equals the first step without a buffer).

    Args:
        slots: The modules that are trained, by slot name; their parameters require gradients.
        momentum: Momentum coefficient, in [0, 1[.
        is_nesterov: Whether the momentum is Nesterov's.
        inherited: Momentum buffers to start from, by slot name and parameter name; slots that are missing start
            from zeros.

    Raises:
        ConfigError: There is nothing to train, or an inherited buffer does not fit its parameters.
    """

    def __init__(
        self,
        slots: Mapping[str, nn.Module],
        *,
        momentum: float,
        is_nesterov: bool,
        inherited: Mapping[str, Mapping[str, torch.Tensor]],
    ) -> None:
        self._slots = {name: dict(module.named_parameters()) for name, module in slots.items()}
        self._parameters = [value for named in self._slots.values() for value in named.values()]
        if not self._parameters:
            raise ConfigError("a child trains no parameters; at least its head must be cloned or fresh")
        self._momentum, self._is_nesterov = momentum, is_nesterov and momentum > 0
        self._is_fused = self._parameters[0].device.type in _FUSED_DEVICES
        self._buffers = {
            slot: _momentum_buffers(slot, named, inherited.get(slot)) for slot, named in self._slots.items()
        }

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What is trained; every step changes it in place."""
        return list(self._parameters)

    @torch.no_grad()
    def restore(self, parameters: Mapping[str, Tensors], momentum: Mapping[str, Tensors]) -> None:
        """Put parameters and momentum buffers back to what they were.

        Args:
            parameters: Values of all parameters, by slot and parameter name; buffers among them are not read.
            momentum: Values of all momentum buffers, likewise.
        """
        for slot, named in self._slots.items():
            for name, parameter in named.items():
                parameter.copy_(parameters[slot][name])
                self._buffers[slot][name].copy_(momentum[slot][name])

    def step(self, losses: Iterable[torch.Tensor], lr: float) -> float | None:
        """Take one step down the gradient of a sum of losses; return the sum, ``None`` where it was not taken.

        Nothing changes when a loss or the gradient is not finite, so parameters are finite at all times. Gradients are
        freed at the end: the children of a group take turns, and one set of gradients must do for all of them.

        Args:
            losses: Scalars with graphs to the trained parameters. Each is asked for when the one before it was
                backpropagated and its graph freed.
            lr: Learning rate of this step.
        """
        try:
            total = 0.0
            for loss in losses:
                value = float(loss.detach())
                if not math.isfinite(value):
                    return None
                loss.backward()  # type: ignore[no-untyped-call]
                total += value
            norm = nn.utils.clip_grad_norm_(self._parameters, MAX_GRADIENT_NORM)
            if not bool(torch.isfinite(norm)):
                return None
            self._descend(lr)
            return total
        finally:
            for parameter in self._parameters:
                parameter.grad = None

    @torch.no_grad()
    def _descend(self, lr: float) -> None:
        """Move all parameters that have a gradient.

        ``torch.optim.SGD`` computes the same, but the first object of it imports ``torch._dynamo``, which takes 70 MiB
        and most of a second in every worker.
        """
        buffers = [buffer for named in self._buffers.values() for buffer in named.values()]
        moved = [
            (parameter, parameter.grad, buffer)
            for parameter, buffer in zip(self._parameters, buffers, strict=True)
            if parameter.grad is not None
        ]
        sgd(
            [parameter for parameter, _, _ in moved],
            [gradient for _, gradient, _ in moved],
            [buffer for _, _, buffer in moved] if self._momentum else [],
            fused=self._is_fused,
            weight_decay=0.0,
            momentum=self._momentum,
            lr=lr,
            dampening=0.0,
            nesterov=self._is_nesterov,
            maximize=False,
        )

    def momentum(self) -> dict[str, Tensors]:
        """Return copies of the momentum buffers by slot and parameter name, contiguous float32 on the CPU."""
        return {
            slot: {name: _copy_to_cpu(value) for name, value in named.items()} for slot, named in self._buffers.items()
        }


def check_shapes(what: str, expected: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor]) -> None:
    """Check that tensors have the names and shapes of those that they are to replace.

    Args:
        what: What they are, for the message.
        expected: The tensors that are replaced.
        found: The tensors.

    Raises:
        ConfigError: Names or shapes differ.
    """
    wanted, there = ({name: tuple(value.shape) for name, value in side.items()} for side in (expected, found))
    if wanted != there:
        raise ConfigError(
            f"{what} has shapes {there}; expected {wanted}; train the component again without inherited momentum"
        )


def _momentum_buffers(
    slot: str, named: Mapping[str, nn.Parameter], inherited: Mapping[str, torch.Tensor] | None
) -> Tensors:
    """Return one buffer per parameter: copies of the inherited ones, or zeros."""
    if inherited is None:
        return {name: torch.zeros_like(parameter) for name, parameter in named.items()}
    check_shapes(f"slot {slot!r}: inherited momentum", named, inherited)
    return {name: torch.empty_like(named[name]).copy_(inherited[name]).detach() for name in named}


def _copy_to_cpu(value: torch.Tensor) -> torch.Tensor:
    return value.detach().to("cpu", torch.float32, copy=True).contiguous()
