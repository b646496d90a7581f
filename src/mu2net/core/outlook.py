"""What the rest of a time budget affords, in units that an agent can reason with: images and passes, not seconds."""

from __future__ import annotations

from dataclasses import dataclass

WORTHWHILE_IMAGES = 0.5
"""Where fewer images are seen, more often, at least this share is left of those that one pass could show."""

FAR_DEARER = 3.0
"""A new image costs at least this many times as much as a known one where fewer of them are seen, more often."""


def num_images(once: float, often: float, dearness: float, everything: int) -> float:
    """Return how many training images a child should see that is bound to pass over them several times.

    Args:
        once: How many could be seen in one pass.
        often: How many could be seen as often as it is bound to.
        dearness: What a new image costs, in known ones: the frozen slots below the trained ones ran for those.
        everything: How many there are.

    Returns:
        All of them where that many can be seen that often, or where a new image is hardly dearer; else as many as can
        be seen that often, but no fewer than half of those that one pass could show.
    """
    if often >= everything or dearness < FAR_DEARER:
        return everything
    return max(often, WORTHWHILE_IMAGES * min(once, everything))


@dataclass(frozen=True)
class Outlook:
    """What is left of a time budget.

    Args:
        passes: Images that one worker could send forward through the whole network in the time that is left.
        num_train: Training images of the task.
        workers: Children that train at the same time.
    """

    passes: float
    num_train: int
    workers: int = 1

    def examples(self, below: float, step: float, share: float = 1.0, passes: int = 1) -> float:
        """Return how many training examples a child sees in a share of the time that is left.

        What lies below its lowest trained slot is computed once for every image, then kept. Where new images are far
        dearer than known ones, a child that is bound to pass over them several times sees fewer images; where it would
        be less than half of them, it is not counted that the rest comes more often.

        Args:
            below: Cost of the frozen slots below it, in forward passes of the whole network.
            step: Cost of the rest of a training step per example, likewise.
            share: Share of the time that is left.
            passes: Passes over the images that it sees, at least.

        Raises:
            ValueError: A step costs nothing.
        """
        if step <= 0.0:
            raise ValueError(f"a training step costs {step} passes; expected a positive number")
        left = share * self.passes
        once, often = left / (below + step), left / (below + passes * step)
        images = num_images(once, often, (below + step) / step, self.num_train) if passes > 1 else self.num_train
        if often < WORTHWHILE_IMAGES * min(once, self.num_train):
            images = self.num_train
        return once if once <= images else images + (left - images * (below + step)) / step
