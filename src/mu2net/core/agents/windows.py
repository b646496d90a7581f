"""Windows: which neighbouring blocks a child trains, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass

from mu2net.core.anatomy import HEAD, Anatomy, adapter_slot, block_slot
from mu2net.core.path import Path

PARAMETER_BOUND = 0.25
"""Parameters of a window at most, as a share of the root's."""

STEP_OVERHEAD = 0.02
"""What a training step costs beside its FLOPs, per example, in forward passes: reading activations, the optimiser."""

PLANNED_SHARE = 0.8
"""Share of the time left that goes to training, about: validations take the rest."""


@dataclass(frozen=True)
class Window:
    """What a child trains.

    Args:
        slots: Names of the slots.
        num_layers: Blocks of the child; those above are dropped.
    """

    slots: tuple[str, ...]
    num_layers: int


@dataclass(frozen=True)
class WindowCost:
    """What training a window costs, in forward passes of the whole network.

    Args:
        below: The frozen slots below it, per image.
        step: The rest of a training step, per example.
    """

    below: float
    step: float

    @classmethod
    def of(cls, window: Window, anatomy: Anatomy, seen: float = 1.0) -> WindowCost:
        """Return what a window costs; what lies between its slots counts as trained.

        The last block of a vision transformer computes the class token alone, at whatever depth it is.

        Args:
            window: The window; slots that are no blocks may be among its own.
            anatomy: The shape of the network, with the FLOPs of its blocks.
            seen: Share of the patches that a step sees.
        """
        total, blocks, names = anatomy.flops, anatomy.block_flops, set(window.slots)
        kept = [*blocks[: window.num_layers - 1], blocks[-1]]
        places = range(len(kept))
        trained = [index for index in places if names & {block_slot(index).name, adapter_slot(index).name}]
        if names & {slot.name for slot in anatomy.stem}:
            trained.insert(0, 0)
        first, last = (trained[0], trained[-1]) if trained else (places[-1], places[-1])
        step = seen * (3 * sum(kept[first : last + 1]) + 2 * sum(kept[last + 1 :])) / total + STEP_OVERHEAD
        return cls((total - sum(blocks[first:])) / total, step)


def neighbours(anatomy: Anatomy, root: Path, start: int) -> tuple[str, ...]:
    """Return the names of neighbouring slots from a block upwards, as many as the bound on parameters allows.

    Args:
        anatomy: The shape of the network.
        root: The root path.
        start: Index of the lowest block.

    Returns:
        At least one slot; the last block where ``start`` lies above it.
    """
    components = [component for component in root.components if component.slot.kind != HEAD.kind]
    names = [component.slot.name for component in components]
    first = names.index(f"block_{min(start, anatomy.depth - 1):02d}")
    chosen, total = [names[first]], components[first].num_params
    for component in components[first + 1 :]:
        total += component.num_params
        if total > PARAMETER_BOUND * anatomy.num_params:
            break
        chosen.append(component.slot.name)
    return tuple(chosen)


def ending_at(depth: int, count: int) -> Window:
    """Return the window of the last blocks of a network that ends at a depth.

    Args:
        depth: Blocks of the network.
        count: Blocks of the window, ``depth`` at most.
    """
    return Window(tuple(block_slot(index).name for index in range(depth - count, depth)), depth)


def is_bounded(window: Window, anatomy: Anatomy, root: Path) -> bool:
    """Return whether a window keeps to the bound on parameters.

    Args:
        window: The window.
        anatomy: The shape of the network.
        root: The root path, whose components tell what a copy of a slot costs.
    """
    sizes = {component.slot.name: component.num_params for component in root.components}
    return sum(sizes[name] for name in window.slots) <= PARAMETER_BOUND * anatomy.num_params
