"""A search for small budgets: few children, each of which is worth its time.

What a few minutes on a few cores allow is a handful of children. ``mu2net`` draws them at random: most clone a slot
near the image, pay for the whole network in every step, and hold a copy of most of it. This agent spends the same time
differently:

1. *Trunks*: where earlier tasks have trained some, a head alone on the trunk of the root and on theirs, one child each,
   all on the same images. What the trunks share is computed once and kept for the windows, so this costs little; it
   says whose knowledge the task can use. The root's is left only for one that is clearly better.
   Where the network is too dear to show each head enough images, none is compared, and windows start from the root's.
2. *Windows*: children that train a window of that trunk each: neighbouring blocks within a bound on their parameters,
   while what lies below and above stays frozen. Batch norms of the window first take the statistics of the task. The
   first windows get all that is left of the budget. A window is tried first where the time left affords enough examples
   of it; where the network is too dear for that, the last block comes first, of which a step costs next to nothing
   once the trunk is computed. Then fewer images are seen, several times each, instead of many once.
3. *Continuation*: where budget is left after all windows that it affords, the best children train on.

On vision transformers a training step sees half of the patches (``train.patch_drop``).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from mu2net.core.agents.base import PASSES, BaseAgent, Stage
from mu2net.core.anatomy import HEAD, Anatomy, block_slot
from mu2net.core.mutation import ChildDraw
from mu2net.core.outlook import Outlook
from mu2net.core.path import Path
from mu2net.core.population import Population
from mu2net.core.proposal import Origin, Proposal
from mu2net.core.space import Space, mu2net_plus_space, with_patch_drop

PARAMETER_BOUND = 0.25
"""Parameters of a window at most, as a share of the root's."""

WINDOW_STARTS = (0.7, 0.55, 0.85)
"""Where windows begin, as a share of the depth, in the order in which they are tried."""

ENOUGH_EXAMPLES = 12_000
"""Training examples that a window needs, about: with fewer, a cheaper window learns more."""

STEP_OVERHEAD = 0.02
"""What a training step costs beside its FLOPs, per example, in forward passes: reading activations, the optimiser."""

PLANNED_SHARE = 0.8
"""Share of the time left that goes to training, about: validations take the rest."""

MAX_TRUNKS = 5
"""Trunks that are compared at most: the root's, and those of the newest tasks."""

TRUNK_SHARE = 0.03
"""Share of the budget for each trunk that is compared."""

PROBED_IMAGES = 128
"""Validation images that tell trunks apart: differences that matter are large."""

PROBE_EXAMPLES = 1024
"""Training images of a head that tells trunks apart, at most."""

LEAST_PROBED = PROBED_IMAGES + PROBE_EXAMPLES // 2
"""Images that the share of each trunk must afford, or none is compared: a few steps of a head tell nothing."""

NUM_VALIDATIONS = 3
"""Validations of a child: the last one counts, so more of them cost time and invite luck."""

WORTHWHILE = 0.1
"""Share of the time that must be left for another generation."""

LEARNING_RATE = 0.1
"""Where the learning rate starts: gradients are clipped, and few steps must do."""

PATCH_DROP_RATE = 0.5
"""Share of the patches that a step does not see: it costs half, and images that come again are not learned by heart."""


class Chosen:
    """Rates that clone exactly some slots and change nothing else.

    Args:
        slots: Names of the slots.
    """

    def __init__(self, slots: Collection[str]) -> None:
        self._names = frozenset(f"clone:{slot}" for slot in slots)

    def draw(self, name: str, rng: np.random.Generator) -> bool:  # noqa: ARG002 - nothing is drawn
        """Return whether a mutation is one of the clones."""
        return name in self._names

    def carried(self) -> dict[str, float]:
        """Return nothing: there are no probabilities."""
        return {}


@dataclass(frozen=True)
class Budgeted(BaseAgent):
    """Trunks, windows, continuation."""

    @property
    def name(self) -> str:
        """The name by which users choose the agent."""
        return "budgeted"

    @property
    def own_space(self) -> Space:
        """mu2Net+'s hyperparameters, without augmentation at first, a higher learning rate, and PatchDropout."""
        space = with_patch_drop(mu2net_plus_space(self.anatomy), self.anatomy)
        starts = {"opt_lr": LEARNING_RATE, "patch_drop_rate": PATCH_DROP_RATE}
        return space.with_defaults({name: value for name, value in starts.items() if name in space})

    def keeps(self, population: Population, path: Path) -> bool:  # noqa: ARG002
        """Return ``True``: every child may be continued, and the best is published."""
        return True

    def stage(self, population: Population) -> Stage | None:
        """Return a child for every trunk; then a whole generation with all that is left, again and again."""
        if self._compares(population):
            trunks = len(self.trunks(population))
            share = TRUNK_SHARE * trunks
            return Stage(trunks, share, 1, PROBED_IMAGES, examples=PROBE_EXAMPLES, is_comparison=True, passes=PASSES)
        return Stage(None, 1.0, NUM_VALIDATIONS, passes=PASSES, least=WORTHWHILE)

    def propose(self, population: Population, rng: np.random.Generator, n: int) -> list[Proposal]:
        """Return the children of the generation; which one child is does not depend on how many follow it."""
        trunks = self.trunks(population)
        if self._compares(population):
            return [self._child(population, trunks[number % len(trunks)], (), rng) for number in range(n)]
        ranked = self.ranked(population)
        heads = [path for path in ranked if self._is_head(path)]
        parent = self._best_trunk(population.root, heads) if heads else trunks[0]
        pairs = [(parent, slots) for slots in self._untried(population)]
        pairs += [(path, ()) for path in ranked if path not in heads]
        return [self._child(population, *pairs[number % len(pairs)], rng) for number in range(n)]

    def best(self, population: Population) -> Path | None:
        """Return the path with the best score; a head alone counts only while there is nothing else.

        It was compared on a part of the validation images, and trained for a moment.
        """
        ranking = self.ranked(population)
        return next((path for path in ranking if not self._is_head(path)), ranking[0] if ranking else None)

    def windows(self, root: Path, outlook: Outlook | None = None) -> list[tuple[str, ...]]:
        """Return the names of the slots of every window, in the order in which they are tried.

        Those of which the time left affords ``ENOUGH_EXAMPLES`` come first, in their usual order with the last block at
        the end; then the others, the one that affords most first.

        Args:
            root: The root path, whose components tell what a copy of a slot costs.
            outlook: What the time left affords; ``None`` where time does not bound the cycle.
        """
        depth = self.anatomy.depth
        starts = [round(start * depth) for start in WINDOW_STARTS]
        if outlook is None or not self.anatomy.block_flops:
            return list(dict.fromkeys(window(self.anatomy, root, start) for start in starts))
        found = dict.fromkeys(window(self.anatomy, root, start) for start in (*starts, depth - 1))
        examples = {slots: self._examples(slots, outlook) for slots in found}
        return sorted(found, key=lambda slots: -min(examples[slots], ENOUGH_EXAMPLES))

    def trunks(self, population: Population) -> list[Path]:
        """Return the root and the newest paths of other tasks, one path for each different trunk."""
        trunks: dict[tuple[str, ...], Path] = {}
        for path in (population.root, *reversed(population.others)):
            trunks.setdefault(self._trunk(path), path)
        return list(trunks.values())[:MAX_TRUNKS]

    def _compares(self, population: Population) -> bool:
        """Return whether the next generation compares trunks: there are several, and time shows each enough images."""
        outlook = population.outlook
        is_affordable = outlook is None or TRUNK_SHARE * outlook.passes >= LEAST_PROBED
        return population.generation == 0 and is_affordable and len(self.trunks(population)) > 1

    def _examples(self, slots: Collection[str], outlook: Outlook) -> float:
        """Return about how many training examples of a window the time left affords."""
        total, blocks = self.anatomy.flops, list(enumerate(self.anatomy.block_flops))
        trained = [index for index, _ in blocks if block_slot(index).name in slots]
        entered = sum(flops for index, flops in blocks if index >= trained[0])
        above = sum(flops for index, flops in blocks if index > trained[-1])
        below = (total - entered) / total
        seen = 1.0 - float(self.space["patch_drop_rate"].default) if self.anatomy.has_patches else 1.0
        step = seen * (3 * (entered - above) + 2 * above) / total + STEP_OVERHEAD
        return outlook.examples(below, step, PLANNED_SHARE, PASSES)

    def _best_trunk(self, root: Path, heads: Sequence[Path]) -> Path:
        """Return the best head; one on the root's trunk, unless the best is better by more than a standard error.

        Heads are compared on few images: the best of several is often so by luck, and what the root learned from a
        million photographs is the safer start.

        Args:
            root: The root path.
            heads: Heads by descending score.
        """
        safe = next((head for head in heads if self._trunk(head) == self._trunk(root)), heads[0])
        return heads[0] if heads[0].quality > safe.quality + standard_error(safe) else safe

    @property
    def _forced(self) -> frozenset[str]:
        """The slots that every child trains."""
        return self.anatomy.forced_clones | {HEAD.name}

    def _trunk(self, path: Path) -> tuple[str, ...]:
        """Return the digests of the components that a head alone leaves as they are."""
        return tuple(component.digest for component in path.components if component.slot.name not in self._forced)

    def _is_head(self, path: Path) -> bool:
        """Return whether a path trained its head alone, on somebody else's trunk."""
        return self._trained(path) <= self._forced

    def _trained(self, path: Path) -> frozenset[str]:
        """Return the names of the slots whose components the path's own task trained."""
        return frozenset(component.slot.name for component in path.components if component.task == path.task)

    def _untried(self, population: Population) -> list[tuple[str, ...]]:
        """Return the windows that no child of the task has trained; after the first, only those that time affords.

        For the others it is better spent on the children that there are: their trunks are computed.
        """
        tried = {self._trained(path) - self._forced for path in population.own}
        outlook = population.outlook
        windows = [slots for slots in self.windows(population.root, outlook) if set(slots) - self._forced not in tried]
        if outlook is None or not self.anatomy.block_flops or not any(tried):
            return windows
        return [slots for slots in windows if self._examples(slots, outlook) >= ENOUGH_EXAMPLES]

    def _child(
        self, population: Population, parent: Path, slots: Collection[str], rng: np.random.Generator
    ) -> Proposal:
        """Return a child of a parent that trains some slots, and those that the method demands."""
        draw = ChildDraw(population, self.anatomy, self.space, parent, Chosen(slots), rng)
        defaults = self.space.defaults()
        draw.set_hparams({name: defaults[name] for name in self.space if name.startswith(("ds_", "opt_", "patch_"))})
        origin: Origin = "own" if parent.task == population.task else "seed"
        return draw.propose(origin, adds_adapters=False, inherits_momentum=True, measures_statistics=bool(slots))


def standard_error(path: Path) -> float:
    """Return the standard error of a path's validation accuracy, in [0, 0.5].

    Half a right and half a wrong answer are added (Agresti and Coull's interval at one standard error), so that an
    accuracy of 0 or 1 on few images has one too.

    Args:
        path: A measured path.
    """
    number = int(path.metrics.extra.get("validated", PROBED_IMAGES)) if path.metrics else PROBED_IMAGES
    share = (path.quality * number + 0.5) / (number + 1)
    return float(np.sqrt(share * (1.0 - share) / (number + 1)))


def window(anatomy: Anatomy, root: Path, start: int) -> tuple[str, ...]:
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
