"""One optimiser step of several heads at once: stacked tensors, and the gradient in closed form instead of a graph.

A child's bits do not depend on who is stacked with it. What is stacked rounds every element, or every row, by itself.
What adds up many numbers (matrix products, sums over classes) runs child by child on operands of one shape and
alignment, because libraries choose the order of such a sum by the size of the whole problem. Multiplication and
addition are never one operation: whether it rounds once or twice would depend on an element's place in memory.

Shapes: K heads, B examples, D features, C classes, P = D + 1 filled up to whole cache lines. A head and its bias are
one matrix ``[C, P]`` with the bias in column D, where every input has a one; the columns behind it stay zero. Scale
and bias of the LayerNorm before it, where it trains, are two more rows. R is the number of rows: C, or C + 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mu2net.train.optimizer import MAX_GRADIENT_NORM

_LINE = 16
"""Float32 numbers in a cache line of 64 bytes."""


def whole_lines(size: int) -> int:
    """Return a number of float32 numbers, filled up to whole cache lines."""
    return -(-size // _LINE) * _LINE


@dataclass(frozen=True)
class Stack:
    """Parameters and momentum buffers of K heads, and how they are updated.

    Args:
        parameters: Parameters ``[K, R, P]``, laid out as above. With a LayerNorm its bias has a one in column D,
            which takes the head's bias along, and its scale a zero.
        momenta: Momentum buffers ``[K, R, P]``, laid out likewise; zero where there is no parameter.
        dim: Number of features D.
        classes: Number of classes C.
        momentum: Momentum coefficient of every head, in [0, 1[.
        is_nesterov: Whether its momentum is Nesterov's, for every head.
    """

    parameters: torch.Tensor
    momenta: torch.Tensor
    dim: int
    classes: int
    momentum: Sequence[float]
    is_nesterov: Sequence[bool]

    @property
    def has_norm(self) -> bool:
        """Whether a LayerNorm trains with every head."""
        return self.parameters.shape[1] > self.classes

    def first(self, number: int) -> Stack:
        """Return a stack of the first heads; its tensors are views of this one's."""
        momentum, is_nesterov = self.momentum[:number], self.is_nesterov[:number]
        tensors = self.parameters[:number], self.momenta[:number]
        return Stack(*tensors, self.dim, self.classes, momentum, is_nesterov)

    def rows(self, rows: Sequence[int]) -> Stack:
        """Return copies of the heads in some rows, in that order."""
        momentum, is_nesterov = [self.momentum[row] for row in rows], [self.is_nesterov[row] for row in rows]
        tensors = self.parameters[[*rows]], self.momenta[[*rows]]
        return Stack(*tensors, self.dim, self.classes, momentum, is_nesterov)


class HeadStep:
    """Buffers and arithmetic for steps of a stack with batches of one size.

    Args:
        stack: What is trained; the steps write to its tensors.
        batch_size: Examples B of a batch.
    """

    def __init__(self, stack: Stack, batch_size: int) -> None:
        self.batch_size, self._stack = batch_size, stack
        self.number, rows, width = stack.parameters.shape
        self._device, classes = stack.parameters.device, stack.classes
        self._inputs_BP: list[torch.Tensor] = []
        # The examples fill whole cache lines: matrices of all children are aligned alike, and no vector is cut short.
        padded = whole_lines(batch_size)
        self._logits_KCB = self._zeros(self.number, classes, padded)
        self._errors_KCB = self._zeros(self.number, classes, padded)
        self._chosen_CB = self._zeros(classes, padded)
        self._classes_C1 = torch.arange(classes, device=self._device)[:, None]
        self._share = torch.tensor(1.0 / batch_size, device=self._device)
        self._measures_3K = self._zeros(3, self.number)
        self._gradients_KRP = self._zeros(self.number, rows, width)
        self._products_K2CP = self._zeros(self.number, 2, classes if stack.has_norm else 0, width)
        self._steps_KRP = torch.zeros_like(stack.parameters)
        self._momentum_K11 = torch.tensor(stack.momentum, dtype=torch.float32, device=self._device)[:, None, None]
        self._is_nesterov_K11 = torch.tensor([*stack.is_nesterov], device=self._device)[:, None, None]
        self._make_views()

    def _zeros(self, *shape: int) -> torch.Tensor:
        return torch.zeros(shape, device=self._device)

    def _make_views(self) -> None:
        """Keep the views that every step needs: making one costs as much as a small operation."""
        batch, classes = self.batch_size, self._stack.classes
        self._weights_KCP, self._gradients_KCP = self._stack.parameters[:, :classes], self._gradients_KRP[:, :classes]
        self._used_CP = list(self._products_K2CP[:, 0] if self._stack.has_norm else self._weights_KCP)
        self._logits_CB, self._errors_CB = list(self._logits_KCB[:, :, :batch]), list(self._errors_KCB[:, :, :batch])
        self._likelihoods_KCB = self._errors_KCB[:, :, :batch]
        self._used_chosen_CB = self._chosen_CB[:, :batch]
        self._gradients_CP = list(self._gradients_KCP)
        self._halves_2KN = self._gradients_KRP.view(self.number, 2, -1).transpose(0, 1)
        if self._stack.has_norm:
            self._make_norm_views()

    def _make_norm_views(self) -> None:
        """Keep the views that a LayerNorm needs besides."""
        classes, dim = self._stack.classes, self._stack.dim
        parameters_KRP, gradients_KRP, products_K2CP = self._stack.parameters, self._gradients_KRP, self._products_K2CP
        self._affine_K21P = parameters_KRP[:, classes:, None]
        self._scale_K1P, self._bias_K1P = parameters_KRP[:, classes : classes + 1], parameters_KRP[:, classes + 1 :]
        self._first_KCP, self._second_KCP = products_K2CP[:, 0], products_K2CP[:, 1]
        self._offsets_KC = products_K2CP[:, 0, :, dim]
        self._error_sums_KC1 = self._gradients_KCP[:, :, dim : dim + 1]
        self._products_2CP, self._affine_gradients_2P = list(products_K2CP), list(gradients_KRP[:, classes:])
        self._beyond_K2N = gradients_KRP[:, classes:, dim:]

    def inputs(self, features_BD: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return what the heads multiply, ``[B, P]`` float32 each: features, a one, zeros.

        Args:
            features_BD: Features of the batch, normalised where a LayerNorm trains; one tensor for all children that
                share it. The results are valid until the next call.
        """
        dim = self._stack.dim
        while len(self._inputs_BP) < len(features_BD):
            fresh_BP = self._zeros(self.batch_size, self._stack.parameters.shape[2])
            fresh_BP[:, dim] = 1.0
            self._inputs_BP.append(fresh_BP)
        for input_BP, feature_BD in zip(self._inputs_BP, features_BD, strict=False):
            input_BP[:, :dim].copy_(feature_BD)
        return self._inputs_BP[: len(features_BD)]

    def gradients(self, inputs_BP: Sequence[torch.Tensor], labels: torch.Tensor) -> tuple[list[float], list[float]]:
        """Compute the gradient of every head's mean cross-entropy; return the losses and the gradients' global norms.

        Args:
            inputs_BP: One for every head, from ``inputs``.
            labels: Class indices, shape ``[B]``.
        """
        if self._stack.has_norm:
            self._fold()
        for weight_CP, input_BP, logits_CB in zip(self._used_CP, inputs_BP, self._logits_CB, strict=True):
            torch.mm(weight_CP, input_BP.t(), out=logits_CB)
        self._cross_entropy(labels)
        for errors_CB, input_BP, gradient_CP in zip(self._errors_CB, inputs_BP, self._gradients_CP, strict=True):
            torch.mm(errors_CB, input_BP, out=gradient_CP)
        if self._stack.has_norm:
            self._unfold()
        # In two halves: libraries split a sum between threads where it is the only one, as it would be with one child.
        torch.linalg.vector_norm(self._halves_2KN, dim=2, out=self._measures_3K[1:])
        likelihoods, *halves = self._measures_3K.tolist()
        return [0.0 - value / self.batch_size for value in likelihoods], list(map(math.hypot, *halves))

    def _cross_entropy(self, labels: torch.Tensor) -> None:
        """Turn logits into summed log-likelihoods, and into the gradient of the mean loss by the logits."""
        chosen_KB = labels.expand(self.number, 1, -1)
        torch.log_softmax(self._logits_KCB, 1, out=self._errors_KCB)
        likelihoods_KB = self._likelihoods_KCB.gather(1, chosen_KB)
        torch.sum(likelihoods_KB, (1, 2), out=self._measures_3K[0])
        torch.softmax(self._logits_KCB, 1, out=self._errors_KCB)
        self._used_chosen_CB.copy_(self._classes_C1 == labels)
        self._errors_KCB.sub_(self._chosen_CB).mul_(self._share)

    def _fold(self) -> None:
        """Put the LayerNorm's scale and bias into the head: W(x·scale + bias) + b = (W·scale)x + (W bias + b)."""
        torch.mul(self._weights_KCP[:, None], self._affine_K21P, out=self._products_K2CP)
        torch.sum(self._second_KCP, 2, out=self._offsets_KC)

    def _unfold(self) -> None:
        """Turn the gradient of the folded head into that of the head and the LayerNorm: the chain rule of ``_fold``."""
        torch.mul(self._weights_KCP, self._gradients_KCP, out=self._first_KCP)
        torch.mul(self._weights_KCP, self._error_sums_KC1, out=self._second_KCP)
        for product_2CP, gradient_2P in zip(self._products_2CP, self._affine_gradients_2P, strict=True):
            torch.sum(product_2CP, 1, out=gradient_2P)
        self._beyond_K2N.zero_()
        torch.mul(self._error_sums_KC1, self._bias_K1P, out=self._second_KCP)
        self._gradients_KCP.mul_(self._scale_K1P).add_(self._second_KCP)

    def descend(self, norms: Sequence[float], lrs: Sequence[float], is_taken: Sequence[bool]) -> None:
        """Clip the gradients and update parameters and momentum.

        Args:
            norms: Global norm of every head's gradient.
            lrs: Learning rate of every head.
            is_taken: Whether its step is taken; nothing of it changes where not.
        """
        clips = [min(1.0, MAX_GRADIENT_NORM / (norm + 1e-6)) for norm in norms]
        clips_K11, lrs_K11 = (
            torch.tensor([*clips, *lrs], dtype=torch.float32, device=self._device).view(2, -1, 1, 1).unbind()
        )
        written = (self._stack.parameters, self._stack.momenta, self._gradients_KRP, self._steps_KRP)
        read = (self._momentum_K11, self._is_nesterov_K11, clips_K11, lrs_K11)
        if all(is_taken):
            self._update(*written, *read)
            return
        for row in (row for row, is_row_taken in enumerate(is_taken) if is_row_taken):
            self._update(*(tensor[row] for tensor in (*written, *read)))

    def _update(
        self,
        parameters: torch.Tensor,
        momenta: torch.Tensor,
        gradients: torch.Tensor,
        steps: torch.Tensor,
        momentum: torch.Tensor,
        is_nesterov: torch.Tensor,
        clips: torch.Tensor,
        lrs: torch.Tensor,
    ) -> None:
        """Update all heads or one; every element by itself, so that the choice does not change its bits."""
        kept = momenta.clone() if 0.0 in self._stack.momentum else None
        gradients.mul_(clips)
        momenta.mul_(momentum).add_(gradients)
        if any(self._stack.is_nesterov):
            torch.mul(momenta, momentum, out=steps).add_(gradients)
            torch.where(is_nesterov, steps, momenta, out=steps)
            steps.mul_(lrs)
        else:
            torch.mul(momenta, lrs, out=steps)
        parameters.sub_(steps)
        if kept is not None:  # SGD without momentum does not touch its buffers
            torch.where(momentum == 0, kept, momenta, out=momenta)


def is_finite(loss: float, norm: float) -> bool:
    """Return whether a step with this loss and this norm of the gradient can be taken."""
    return math.isfinite(loss) and math.isfinite(norm)
