"""Weight averaging: a child is what it was on average over its last steps, not what it was in the last one.

With a learning rate that stays high, the weights wander about a wide minimum, and their mean lies nearer to its middle
than any of them does: it generalises better, and depends less on the order of the images. The average has polynomial
decay (Shamir and Zhang, arXiv 1212.1824, section 4), so it needs no number of steps in advance and can be asked for at
any time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from mu2net.errors import ConfigError

EVERY = 4
"""Steps from one addition to the next: neighbouring steps differ little, and adding costs as much as reading them."""


class WeightAverage:
    """The running average of some parameters.

    Args:
        parameters: What is averaged; optimisers change it in place.
        age: Mean age of the averaged weights, as a share of the steps so far, in ]0, 0.5]; 0.5 is the mean of all.

    Raises:
        ConfigError: The age lies outside its domain.
    """

    def __init__(self, parameters: Sequence[torch.Tensor], age: float) -> None:
        if not 0.0 < age <= 0.5:
            raise ConfigError(f"opt_averaging is {age}; expected a share of the steps, more than 0 and 0.5 at most")
        self._parameters, self._exponent = list(parameters), 1.0 / age - 2.0
        self.reset()

    def reset(self) -> None:
        """Forget all steps: the parameters were set to something else."""
        self._steps, self._averages = 0, list[torch.Tensor]()

    @torch.no_grad()
    def update(self) -> None:
        """Take note of a step."""
        self._steps += 1
        number, rest = divmod(self._steps, EVERY)
        if rest:
            return
        if not self._averages:
            self._averages = [parameter.detach().clone() for parameter in self._parameters]
            return
        share = (self._exponent + 1.0) / (self._exponent + number)
        torch._foreach_lerp_(self._averages, [parameter.detach() for parameter in self._parameters], share)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the parameters their averages while the context lasts; nothing changes before the first addition."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for parameter, average in zip(self._parameters, self._averages, strict=False):
            kept = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(kept)
