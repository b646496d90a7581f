"""The children of a group: their networks, and who trains them.

Children that train their heads alone are stacked and trained together; all others, and those whose weights are
averaged, train one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from mu2net.nn.backbone import Tensors
from mu2net.nn.chain import Chain
from mu2net.train.averaging import WeightAverage
from mu2net.train.batches import Batch, SplitName, SplitReader
from mu2net.train.child import ChildJob, ChildRun, ModuleFactory, frozen_digests
from mu2net.train.heads import HeadChild, HeadLayout, StackedHeads, head_layout
from mu2net.train.learner import ChainLearner, Learner, State, Turn
from mu2net.train.optimizer import SlotOptimizer
from mu2net.train.prefix import make_prefix


class HeadLearner:
    """Trains the heads of several children as one; see ``Learner``.

    Args:
        heads: The children, in the order of their places.
    """

    def __init__(self, heads: Sequence[HeadChild]) -> None:
        self._names = [str(place) for place in range(len(heads))]
        self._heads = StackedHeads(dict(zip(self._names, heads, strict=True)))

    def step(self, turns: Sequence[Turn], labels: torch.Tensor) -> list[float | None]:
        """Take one optimiser step for every child that has a turn."""
        names = [self._names[turn.place] for turn in turns]
        rates = dict(zip(names, [turn.lr for turn in turns], strict=True))
        losses = self._heads.step(self._features(turns), labels, rates)
        return [losses[name] for name in names]

    def count_correct(self, turns: Sequence[Turn], batch: Batch) -> list[int]:
        """Return how many examples of a batch every child classifies correctly."""
        found = self._heads.count_correct(self._features(turns), batch.labels[: batch.size])
        return [found[self._names[turn.place]] for turn in turns]

    def state(self, place: int) -> State:
        """Return what a child trains, as it is now."""
        return State(self._heads.tensors(self._names[place]), self._heads.momentum(self._names[place]))

    def restore(self, place: int, state: State) -> None:
        """Put a child back to a state."""
        self._heads.restore(self._names[place], state.tensors, state.momentum)

    def _features(self, turns: Sequence[Turn]) -> dict[str, torch.Tensor]:
        return {self._names[turn.place]: turn.entering for turn in turns}


def make_children(
    jobs: Sequence[ChildJob], factory: ModuleFactory, readers: Mapping[SplitName, SplitReader]
) -> list[ChildRun]:
    """Return the children of a group, ready to train, in the order of the jobs.

    Args:
        jobs: What they train.
        factory: Makes their modules.
        readers: The splits that they read.

    Raises:
        ConfigError: A child trains nothing.
    """
    chains = [factory.chain(job) for job in jobs]
    inherited = [factory.momentum(job) for job in jobs]
    stacks: dict[HeadLayout, list[int]] = {}
    for number, (job, chain) in enumerate(zip(jobs, chains, strict=True)):
        layout = None if _averaging(job) else head_layout(chain, chain.frozen_prefix)
        if layout is not None:
            stacks.setdefault(layout, []).append(number)
    learners: dict[int, tuple[Learner, int]] = {}
    for numbers in stacks.values():
        heads = HeadLearner([_head(jobs[number], chains[number], inherited[number]) for number in numbers])
        learners |= {number: (heads, place) for place, number in enumerate(numbers)}
    children = []
    for number, (job, chain) in enumerate(zip(jobs, chains, strict=True)):
        prefix = make_prefix(chain, frozen_digests(job, chain), readers)
        learner, place = learners.get(number) or (_alone(job, chain, inherited[number], readers["train"]), 0)
        children.append(ChildRun(job, chain, prefix, learner, place))
    return children


def _head(job: ChildJob, chain: Chain, inherited: Mapping[str, Tensors]) -> HeadChild:
    hparams = job.proposal.hparams
    return HeadChild(chain, float(hparams["opt_momentum"]), bool(hparams["opt_nesterov"]), inherited)


def _alone(job: ChildJob, chain: Chain, inherited: Mapping[str, Tensors], reader: SplitReader) -> ChainLearner:
    trained, hparams = [slot.name for slot in job.proposal.trainable], job.proposal.hparams
    optimizer = SlotOptimizer(
        {name: chain.part(name) for name in trained},
        momentum=float(hparams["opt_momentum"]),
        is_nesterov=bool(hparams["opt_nesterov"]),
        inherited=inherited,
    )
    drop, mix = (float(hparams.get(name, 0.0)) for name in ("patch_drop_rate", "opt_mix_rate"))
    average = WeightAverage(optimizer.parameters, _averaging(job)) if _averaging(job) else None
    return ChainLearner(chain, trained, optimizer, reader.compute, drop, mix, average)


def _averaging(job: ChildJob) -> float:
    return float(job.proposal.hparams.get("opt_averaging", 0.0))
