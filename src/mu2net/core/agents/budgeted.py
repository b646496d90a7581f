"""A search for small budgets: few children, each of which is worth its time.

What a few minutes on a few cores allow is a handful of children. ``mu2net`` draws them at random: most clone a slot
near the image, pay for the whole network in every step, and hold a copy of most of it. This agent spends the same time
differently:

1. *Trunks*: where earlier tasks have trained some, a head alone on the trunk of the root and on theirs, one child each,
   all on the same images. What the trunks share is computed once and kept for the windows, so this costs little; it
   says whose knowledge the task can use. The root's is left only for one that is clearly better.
   Where the network is too dear to show each head enough images, none is compared, and windows start from the root's.
   So do they where layers can be dropped: heads at different depths tell nothing of the trunks.
2. *Depths*, where layers can be dropped and time does not afford enough examples of two blocks: children that train one
   block each and drop all blocks above it. What the last block makes of a trunk is read by the head alone, so a step of
   it costs next to nothing once the trunk is computed, and the trunks of lower blocks are parts of those of higher
   ones. Which depth is best differs from task to task, and neither frozen features nor a short training tell which: as
   many are tried, side by side on the same images, as the time left lets learn.
3. *Windows*: children that train neighbouring blocks within a bound on their parameters, while what lies below and
   above stays frozen: where layers can be dropped and time bounds the cycle, three or two blocks up to the best depth,
   then two up to others; else blocks some way below the top. Batch norms of a window first take the statistics of the
   task. A window is tried first where the time left affords enough examples of it; where the network is too dear for
   that and keeps all its blocks, the last block comes first.
4. *Continuation*: where budget is left after all windows that it affords, the best children train on.

Where a trunk is dear, fewer images are seen, several times each, instead of many once.

Half of the steps show two images in one (``train.mixing``), and a child is the average of its last weights
(``train.averaging``), at a learning rate that stays as it is. On vision transformers a step sees half of the patches
(``train.patch_drop``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from mu2net.core.agents.base import PASSES, BaseAgent, Stage
from mu2net.core.agents.noise import PROBED_IMAGES, standard_error
from mu2net.core.agents.windows import PLANNED_SHARE, Window, WindowCost, ending_at, is_bounded, neighbours
from mu2net.core.anatomy import HEAD, block_slot
from mu2net.core.mutation import ChildDraw, Chosen
from mu2net.core.outlook import Outlook
from mu2net.core.path import Path, Value
from mu2net.core.population import Population
from mu2net.core.proposal import Origin, Proposal
from mu2net.core.space import Space, mu2net_plus_space, with_regularization

DEPTHS = (0.75, 0.67, 0.83)
"""Blocks that are left, as a share of those of the root, in the order in which they are tried."""

ENOUGH_TO_TELL = 75_000
"""Training examples of each depth, about, without which fewer depths are compared: with less, the order misleads."""

DEPTH_EXAMPLES = 120_000
"""Training examples of each depth at most, about: more bring less than windows do."""

MOST_PASSES = 30
"""Passes over all images that a child makes at most: no child needs more examples than these."""

DEPTH_PASSES = 4
"""Passes over the images that depths see, at least, where new images are far dearer than known ones."""

ENOUGH_TO_CONTINUE = 12_000
"""Training examples, about, without which no child is continued: it starts with the full learning rate again."""

BELOW_DEPTH = {3: 75_000, 2: 45_000}
"""Blocks of the windows that end at the best depth, in the order in which they are tried; and the training examples
that each needs, about: with fewer, fewer blocks learn more. The fewest are tried at other depths too."""

WINDOW_STARTS = {0.7: 12_000, 0.55: 12_000, 0.85: 12_000}
"""Where windows begin, as a share of the depth, in the order in which they are tried; and the training examples that
each needs, about: with fewer, a cheaper window learns more."""

LOW_START = {0.5: 9_000}
"""The same of the window that comes before them where no layer can be dropped: a lower one holds more blocks."""

MAX_TRUNKS = 5
"""Trunks that are compared at most: the root's, and those of the newest tasks."""

TRUNK_SHARE = 0.03
"""Share of the budget for each trunk that is compared."""

PROBE_EXAMPLES = 1024
"""Training images of a head that tells trunks apart, at most."""

LEAST_PROBED = PROBED_IMAGES + PROBE_EXAMPLES // 2
"""Images that the share of each trunk must afford, or none is compared: a few steps of a head tell nothing."""

NUM_VALIDATIONS = 3
"""Validations of a child: the last one counts, so more of them cost time and invite luck."""

WORTHWHILE = 0.1
"""Share of the time that must be left for another generation."""

STARTS: dict[str, Value] = {
    "opt_lr": 0.1,
    "opt_lr_schedule": "constant",
    "opt_averaging": 0.1,
    "opt_mix_rate": 0.5,
    "patch_drop_rate": 0.5,
}
"""Where hyperparameters start that a network has. Gradients are clipped and few steps must do, so the learning rate is
high; the rest keeps images that come again from being learned by heart, and halves the cost of a step on patches."""

OF_PROBES: dict[str, Value] = {"opt_lr_schedule": "cosine", "opt_averaging": 0.0}
"""What is different in heads that tell trunks apart: of so few steps there is nothing to average."""


@dataclass(frozen=True)
class Budgeted(BaseAgent):
    """Trunks, depths, windows, continuation."""

    newest_wins_ties = False

    @property
    def name(self) -> str:
        """The name by which users choose the agent."""
        return "budgeted"

    @property
    def own_space(self) -> Space:
        """mu2Net+'s hyperparameters, without augmentation at first, a higher learning rate, and regularisation."""
        space = with_regularization(mu2net_plus_space(self.anatomy), self.anatomy)
        return space.with_defaults({name: value for name, value in STARTS.items() if name in space})

    def keeps(self, population: Population, path: Path) -> bool:  # noqa: ARG002
        """Return ``True``: every child may be continued, and the best is published."""
        return True

    def stage(self, population: Population) -> Stage | None:
        """Return a child for every trunk; then depths with all that is left, or one child for each worker at a time.

        Where nothing is worth the time that is left, the cycle ends.
        """
        if self._compares(population):
            trunks = len(self.trunks(population))
            share = TRUNK_SHARE * trunks
            return Stage(trunks, share, 1, PROBED_IMAGES, examples=PROBE_EXAMPLES, is_comparison=True, passes=PASSES)
        depths, outlook = self._race(population), population.outlook
        if depths:
            most = ceil(DEPTH_EXAMPLES / NUM_VALIDATIONS)
            return Stage(len(depths), 1.0, NUM_VALIDATIONS, examples=most, passes=DEPTH_PASSES, least=WORTHWHILE)
        size = None if outlook is None else min(len(self._pairs(population)), outlook.workers)
        return Stage(size, 1.0, NUM_VALIDATIONS, passes=PASSES, least=WORTHWHILE)

    def propose(self, population: Population, rng: np.random.Generator, n: int) -> list[Proposal]:
        """Return the children of the generation; which one child is does not depend on how many follow it."""
        trunks = self.trunks(population)
        if self._compares(population):
            return [self._child(population, trunks[number % len(trunks)], None, rng) for number in range(n)]
        pairs = self._pairs(population) or [(path, None) for path in self._windowed(population)]
        return [self._child(population, *pairs[number % len(pairs)], rng) for number in range(n)]

    def best(self, population: Population) -> Path | None:
        """Return the path with the best score; a head alone counts only while there is nothing else.

        It was compared on a part of the validation images, and trained for a moment. Windows are tried in the order of
        what was learned about other tasks: a later one counts only where it is better by more than a standard error.
        """
        ranking, found = self.ranked(population), self._windowed(population)
        if not found or self.depths():
            return next(iter(found or ranking), None)
        windows = dict.fromkeys(self._trained(path) for path in population.own if not self._is_head(path))
        first, *later = (next(path for path in found if self._trained(path) == window) for window in windows)
        for path in later:
            luck = standard_error(first) / max(first.quality, 1e-9)
            if self.score(population, path) > self.score(population, first) * (1.0 + luck):
                first = path
        return first

    def depths(self) -> list[Window]:
        """Return the last block of every depth that is compared, in the order in which they are tried.

        None where the network has all its blocks always; the only one where the user chose the number of blocks.
        """
        if self.anatomy.min_layers == self.anatomy.depth or not self.anatomy.block_flops:
            return []
        numbers = dict.fromkeys(round(share * self.anatomy.depth) for share in DEPTHS)
        chosen = self._layers if len(self._layers) == 1 else [number for number in numbers if number in self._layers]
        return [ending_at(number, 1) for number in chosen]

    def windows(self, root: Path, outlook: Outlook | None = None) -> list[Window]:
        """Return the windows in the order in which they are tried.

        Those of which the time left affords enough examples, in their usual order; then, only where these are fewer
        than children that train at the same time, the others and the last block alone, the one that affords most first.

        Args:
            root: The root path, whose components tell what a copy of a slot costs.
            outlook: What the time left affords; ``None`` where time does not bound the cycle.
        """
        depth, enough = max(self._layers), self._window_starts(root)
        if outlook is None or not self.anatomy.block_flops:
            return list(enough)
        affordable = [window for window, least in enough.items() if self._affords(window, outlook, least)]
        if len(affordable) >= outlook.workers:
            return affordable
        others = dict.fromkeys([*enough, self._window(root, depth - 1)])
        rest = [window for window in others if window not in affordable]
        return affordable + sorted(rest, key=lambda window: -self._examples([window], outlook))

    def trunks(self, population: Population) -> list[Path]:
        """Return the root and the newest paths of other tasks, one path for each different trunk."""
        trunks: dict[tuple[str, ...], Path] = {}
        for path in (population.root, *reversed(population.others)):
            trunks.setdefault(self._trunk(path), path)
        return list(trunks.values())[:MAX_TRUNKS]

    def _compares(self, population: Population) -> bool:
        """Return whether the next generation compares trunks: there are several, and time shows each enough images.

        None are where depths are: on the depths of a vision transformer, windows of other tasks were no better starts.
        """
        outlook = population.outlook
        is_affordable = outlook is None or TRUNK_SHARE * outlook.passes >= LEAST_PROBED
        return population.generation == 0 and not self.depths() and is_affordable and len(self.trunks(population)) > 1

    def _examples(self, windows: Sequence[Window], outlook: Outlook, passes: int = PASSES) -> float:
        """Return about how many training examples of each of some windows the time left affords, all on one trunk."""
        costs = [self._cost(window) for window in windows]
        together = ceil(len(windows) / outlook.workers)
        step = together * sum(cost.step for cost in costs) / len(windows)
        return outlook.examples(max(cost.below for cost in costs), step, PLANNED_SHARE, passes)

    def _affords(self, window: Window, outlook: Outlook, enough: int) -> bool:
        """Return whether the time left affords so many examples of a window, or as many as a child may see."""
        return self._examples([window], outlook) >= min(enough, MOST_PASSES * outlook.num_train)

    def _cost(self, window: Window) -> WindowCost:
        """Return what a window costs with the share of the patches that steps see."""
        seen = 1.0 - float(self.space["patch_drop_rate"].default) if self.anatomy.has_patches else 1.0
        return WindowCost.of(window, self.anatomy, seen)

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

    def _is_free(self, name: str, value: Value) -> bool:
        """Return whether a hyperparameter may take a value: the user neither chose another one nor fixed it."""
        return name not in self.changes and value in self.space[name].values

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

    @property
    def _layers(self) -> tuple[int, ...]:
        """The numbers of blocks that a child may have: one where the user chose it."""
        numbers = self.space["num_layers"]
        allowed = (numbers.default,) if "num_layers" in self.changes else numbers.values
        return tuple(int(number) for number in allowed)

    def _window_starts(self, root: Path) -> dict[Window, int]:
        """Return every window and the examples that it needs, in their usual order."""
        starts = WINDOW_STARTS if self.anatomy.min_layers < self.anatomy.depth else LOW_START | WINDOW_STARTS
        found: dict[Window, int] = {}
        for share, enough in starts.items():
            found.setdefault(self._window(root, round(share * max(self._layers))), enough)
        return found

    def _window(self, root: Path, start: int) -> Window:
        """Return the window that begins at a block, of the most blocks that a child may have."""
        depth = max(self._layers)
        names = neighbours(self.anatomy, root, min(start, depth - 1))
        dropped = {block_slot(index).name for index in range(depth, self.anatomy.depth)}
        return Window(tuple(name for name in names if name not in dropped), depth)

    def _windowed(self, population: Population) -> list[Path]:
        """Return the task's own paths that trained more than a head, by descending score."""
        return [path for path in self.ranked(population) if not self._is_head(path)]

    def _pairs(self, population: Population) -> list[tuple[Path, Window | None]]:
        """Return the children that are worth their time: a parent each, and what is trained, ``None`` to continue.

        While the cycle has trained no more than heads there is one in any case.
        """
        heads = [path for path in self.ranked(population) if self._is_head(path)]
        parent = self._best_trunk(population.root, heads) if heads and not self.depths() else population.root
        windows = self._race(population) or self._untried_windows(population)
        pairs: list[tuple[Path, Window | None]] = [(parent, window) for window in windows]
        continued = self._windowed(population)
        pairs += [(path, None) for path in continued if self._is_continued(population, path)]
        is_first = population.generation == 0 or (population.generation == 1 and bool(heads))
        return pairs or ([(path, None) for path in continued] if is_first else [])

    def _is_continued(self, population: Population, path: Path) -> bool:
        """Return whether the time left affords enough examples to continue a path: a few steps only disturb it.

        What lies below its window was computed when it trained, unless that was in an earlier cycle.
        """
        outlook = population.outlook
        if outlook is None or not self.anatomy.block_flops:
            return True
        cost = self._cost(Window(tuple(self._trained(path)), int(path.hparams["num_layers"])))
        below = cost.below if population.generation == 0 else 0.0
        examples = outlook.examples(below, cost.step, PLANNED_SHARE, PASSES)
        return examples >= min(ENOUGH_TO_CONTINUE, MOST_PASSES * outlook.num_train)

    def _below_depth(self, population: Population) -> dict[Window, int]:
        """Return the windows of several blocks that end at a depth, and the examples that each needs.

        Those of the best depth come first, then those of two blocks at other depths.
        """
        paths, depths = self._windowed(population), [window.num_layers for window in self.depths()]
        best = int(paths[0].hparams["num_layers"]) if paths else depths[0]
        best = best if best in self._layers else depths[0]
        few = min(BELOW_DEPTH)
        places = [(best, count) for count in BELOW_DEPTH] + [(depth, few) for depth in depths if depth != best]
        windows = {ending_at(depth, count): BELOW_DEPTH[count] for depth, count in places if count <= depth}
        return {
            window: enough for window, enough in windows.items() if is_bounded(window, self.anatomy, population.root)
        }

    def _affordable(self, windows: Mapping[Window, int], population: Population) -> list[Window]:
        """Return the windows of which the time left affords the examples that they need, in their order."""
        outlook = population.outlook
        return [it for it, least in windows.items() if outlook is None or self._affords(it, outlook, least)]

    def _tried(self, population: Population) -> list[frozenset[str]]:
        """Return the slots that every path of the task has trained, without those that all train."""
        return [self._trained(path) - self._forced for path in population.own]

    def _race(self, population: Population) -> list[Window]:
        """Return the depths that are compared side by side, before the task has trained anything else than heads.

        None where the time left affords several blocks, which learn more. As many as the time left lets learn, the
        same number for every worker; otherwise one for each of them.
        """
        outlook, depths = population.outlook, self.depths()
        if outlook is None or not depths or any(self._tried(population)):
            return []
        if self._affordable(self._below_depth(population), population):
            return []
        enough = min(ENOUGH_TO_TELL, MOST_PASSES * outlook.num_train)
        for number in range(len(depths), outlook.workers, -1):
            is_even = number % outlook.workers == 0
            if is_even and self._examples(depths[:number], outlook, DEPTH_PASSES) >= enough:
                return depths[:number]
        return depths[: outlook.workers]

    def _untried_windows(self, population: Population) -> list[Window]:
        """Return the windows that no child of the task has trained; after the first, only those that time affords.

        For the others it is better spent on the children that there are: their trunks are computed.
        """
        tried, outlook = self._tried(population), population.outlook
        if outlook is not None and self.depths():
            is_raced = {len(slots) for slots in tried if slots} == {1}
            single = dict.fromkeys(self.depths(), ENOUGH_TO_TELL) if is_raced else {}
            windows = self._affordable(self._below_depth(population) | single, population)
            return [window for window in windows if set(window.slots) - self._forced not in tried]
        enough, windows = self._window_starts(population.root), self.windows(population.root, outlook)
        windows = [window for window in windows if set(window.slots) - self._forced not in tried]
        if outlook is None or not self.anatomy.block_flops or not any(tried):
            return windows
        return self._affordable({window: enough[window] for window in windows if window in enough}, population)

    def _child(self, population: Population, parent: Path, window: Window | None, rng: np.random.Generator) -> Proposal:
        """Return a child of a parent that trains a window, or what its parent trained, and what the method demands."""
        draw = ChildDraw(population, self.anatomy, self.space, parent, Chosen(window.slots if window else ()), rng)
        defaults = self.space.defaults()
        origin: Origin = "own" if parent.task == population.task else "seed"
        values = {name: defaults[name] for name in self.space if name.startswith(("ds_", "opt_", "patch_"))}
        if window is not None:
            values["num_layers"] = window.num_layers
        elif origin == "seed":
            values |= {name: value for name, value in OF_PROBES.items() if self._is_free(name, value)}
        draw.set_hparams(values)
        is_measured = window is not None
        return draw.propose(origin, adds_adapters=False, inherits_momentum=True, measures_statistics=is_measured)
