"""The arithmetic of children: steps, right answers, and the state of what they train."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch

from mu2net.nn.backbone import Tensors
from mu2net.nn.chain import Chain
from mu2net.nn.precision import Precision
from mu2net.train.averaging import WeightAverage
from mu2net.train.batches import Batch, Key
from mu2net.train.compute import Compute
from mu2net.train.evaluate import count_correct
from mu2net.train.mixing import draw_replaced, mix_parts, mix_tokens, mixed_cross_entropy
from mu2net.train.optimizer import SlotOptimizer
from mu2net.train.patch_drop import draw_tokens, keep_tokens


@dataclass(frozen=True)
class State:
    """What a child trains, as copies: contiguous float32 on the CPU.

    Args:
        tensors: Parameters and buffers of every trained slot, by slot name.
        momentum: Momentum buffers of every trained slot, by slot and parameter name.
    """

    tensors: Mapping[str, Tensors]
    momentum: Mapping[str, Tensors]


@dataclass(frozen=True, eq=False)
class Turn:
    """One child's part in a batch.

    Args:
        place: Place of the child in its learner.
        entering: The activation that enters its lowest trainable slot.
        lr: Learning rate, where it trains.
        key: Key of the random draws of a step; all children of a group see the same.
    """

    place: int
    entering: torch.Tensor
    lr: float = 0.0
    key: Key = ()


class Learner(Protocol):
    """Trains some children from the activations that enter their lowest trainable slots.

    What becomes of a child does not depend on which others take turns with it.
    """

    def step(self, turns: Sequence[Turn], labels: torch.Tensor) -> list[float | None]:
        """Take one optimiser step for every child that has a turn.

        Args:
            turns: The children, each once.
            labels: Class indices, shape ``[B]``.

        Returns:
            The mean loss of every turn; ``None`` where loss or gradient were not finite and the child did not change.
        """
        ...

    def count_correct(self, turns: Sequence[Turn], batch: Batch) -> list[int]:
        """Return how many examples of a batch every child classifies correctly; padding does not count."""
        ...

    def state(self, place: int) -> State:
        """Return what a child trains, as it is now; where weights are averaged, the average."""
        ...

    def restore(self, place: int, state: State) -> None:
        """Put a child back to a state from before it trained: averages of weights begin anew."""
        ...


PIECE_TOKENS: dict[Precision, int] = {"float32": 550, "bfloat16": 2200}
"""Tokens of a batch that are backpropagated at once on a CPU, about.

In float32 a block's activations then fit the processor's caches. In bfloat16 they take half the room, and the casts of
parameters and gradients, which every piece pays for, weigh more.
"""


def count_pieces(batch_size: int, tokens: int, device: torch.device, precision: Precision) -> int:
    """Return in how many pieces a batch is backpropagated, one after another.

    On a CPU, pieces of few tokens hold a fraction of the activations, and are not slower (docs/performance.md).

    Args:
        batch_size: Images of the batch.
        tokens: Tokens of an image that are backpropagated through; 0 where the class token alone is, or none.
        device: Where that happens.
        precision: In which arithmetic.
    """
    if device.type != "cpu":
        return 1
    return max(1, min(batch_size, -(-batch_size * tokens // PIECE_TOKENS[precision])))


class ChainLearner:
    """Trains slots of one chain by backpropagation; its only child has place 0.

    Args:
        chain: The network, with its trainable slots set.
        trained: Names of the trained slots.
        optimizer: Updates them.
        compute: In which arithmetic the network runs.
        patch_drop_rate: Share of an image's patches that a step does not see, in [0, 1[; nothing is dropped where the
            class token alone enters what trains, nor in networks without patches.
        mix_rate: Share of the steps that show parts of two images in one, in [0, 1]; nothing is mixed where the class
            token alone, or a vector, enters what trains.
        average: Averages the trained parameters: validations and states are of the averages; ``None`` for none.
    """

    def __init__(
        self,
        chain: Chain,
        trained: Sequence[str],
        optimizer: SlotOptimizer,
        compute: Compute,
        patch_drop_rate: float = 0.0,
        mix_rate: float = 0.0,
        average: WeightAverage | None = None,
    ) -> None:
        self._chain, self._depth, self._trained = chain, chain.frozen_prefix, tuple(trained)
        self._optimizer, self._compute = optimizer, compute
        self._drop_rate, self._mix_rate, self._average = patch_drop_rate, mix_rate, average
        self._changed_at = chain.patches_from(self._depth) if patch_drop_rate or mix_rate else None

    def step(self, turns: Sequence[Turn], labels: torch.Tensor) -> list[float | None]:
        """Take one optimiser step; see ``Learner``."""
        (turn,) = turns
        loss = self._optimizer.step(self._losses(turn, labels), turn.lr)
        if self._average is not None and loss is not None:
            self._average.update()
        return [loss]

    def _losses(self, turn: Turn, labels: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yield losses that add up to the batch's mean loss, one for every piece of it."""
        entering, tokens, kept = turn.entering, self._chain.tokens_from(self._depth), self._draw(turn)
        if kept is not None and self._changed_at == self._depth:
            entering, tokens, kept = keep_tokens(entering, kept), min(tokens, kept.shape[1]), None
        entering, share = self._mix(entering, turn.key)
        others = labels.roll(1, 0)
        pieces = count_pieces(len(entering), tokens, entering.device, self._compute.precision)
        kept_pieces = [None] * pieces if kept is None else kept.tensor_split(pieces)
        for part, of_part, of_others, of_kept in zip(
            *(whole.tensor_split(pieces) for whole in (entering, labels, others)), kept_pieces, strict=True
        ):
            with self._compute.arithmetic():
                logits = self._forward(part, of_kept)
            yield mixed_cross_entropy(logits.float(), of_part, of_others, share) * (len(part) / len(entering))

    def _draw(self, turn: Turn) -> torch.Tensor | None:
        """Return which tokens a step sees, shape ``[B, K]``; ``None`` for all of them."""
        if self._changed_at is None or not self._drop_rate:
            return None
        return draw_tokens(len(turn.entering), self._chain.tokens_from(0) - 1, self._drop_rate, turn.key)

    def _mix(self, entering: torch.Tensor, key: Key) -> tuple[torch.Tensor, float]:
        """Return what enters, with parts of two images in one where the step mixes, and the share of the second one."""
        has_class_token = self._changed_at == self._depth
        if has_class_token:
            parts = entering.shape[1] - 1
        elif self._changed_at is None and self._chain.tokens_from(0):
            parts = 0
        else:
            parts = entering.shape[-2] if entering.dim() > 2 else 0
        replaced = draw_replaced(parts, self._mix_rate, key) if self._mix_rate else 0
        if not replaced:
            return entering, 0.0
        return (mix_tokens if has_class_token else mix_parts)(entering, replaced), replaced / parts

    def _forward(self, entering: torch.Tensor, kept: torch.Tensor | None) -> torch.Tensor:
        """Return the logits; of some tokens alone from where all have their positions, if ``kept`` says which."""
        if kept is None or self._changed_at is None:
            return self._chain.forward_range(entering, self._depth)
        tokens = self._chain.forward_range(entering, self._depth, self._changed_at)
        return self._chain.forward_range(keep_tokens(tokens, kept), self._changed_at)

    def _averaged(self) -> AbstractContextManager[None]:
        return nullcontext() if self._average is None else self._average.applied()

    @torch.inference_mode()
    def count_correct(self, turns: Sequence[Turn], batch: Batch) -> list[int]:
        """Return how many examples of a batch are classified correctly; see ``Learner``."""
        (turn,) = turns
        with self._averaged(), self._compute.arithmetic():
            logits = self._chain.forward_range(turn.entering, self._depth)
        return [count_correct(logits[: batch.size].float(), batch.labels[: batch.size])]

    def state(self, place: int) -> State:  # noqa: ARG002 - there is but one
        """Return what the child trains, as it is now, or was on average; the momentum is that of the last step."""
        with self._averaged():
            tensors = {name: self._chain.tensors(name) for name in self._trained}
        return State(tensors, self._optimizer.momentum())

    def restore(self, place: int, state: State) -> None:  # noqa: ARG002 - there is but one
        """Put the child back to a state."""
        self._optimizer.restore(state.tensors, state.momentum)
        if self._average is not None:
            self._average.reset()
