"""What the rest of a time budget affords, in units that an agent can reason with: images and passes, not seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Outlook:
    """What is left of a time budget.

    Args:
        passes: Images that one worker could send forward through the whole network in the time that is left.
        num_train: Training images of the task.
    """

    passes: float
    num_train: int

    def examples(self, below: float, step: float, share: float = 1.0) -> float:
        """Return how many training examples a child sees in a share of the time that is left.

        What lies below its lowest trained slot is computed once for every image, then kept.

        Args:
            below: Cost of the frozen slots below it, in forward passes of the whole network.
            step: Cost of the rest of a training step per example, likewise.
            share: Share of the time that is left.

        Raises:
            ValueError: A step costs nothing.
        """
        if step <= 0.0:
            raise ValueError(f"a training step costs {step} passes; expected a positive number")
        left = share * self.passes
        first_pass = self.num_train * (below + step)
        return left / (below + step) if left <= first_pass else self.num_train + (left - first_pass) / step
