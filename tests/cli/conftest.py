"""A system that only remembers what it was asked, and the events of a cycle as they were once recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import pytest
from typer.testing import CliRunner, Result

import mu2net.system
from mu2net.cli import app
from mu2net.core.component import Component, Digest, Slot
from mu2net.core.path import Metrics, Mutation
from mu2net.core.path import Path as NetworkPath
from mu2net.errors import ImageError, UnknownNameError
from mu2net.search.budget import Budget, ChildBudget
from mu2net.search.events import (
    ChildPlanned,
    ChildRecorded,
    CycleStarted,
    GenerationStarted,
    Preparing,
    Published,
    Publishing,
)
from mu2net.store.backup import Backup
from mu2net.store.collect import Collected
from mu2net.store.provenance import Origin, Provenance, SlotProvenance
from mu2net.store.removal import Removal
from mu2net.store.repair import Repaired
from mu2net.store.transfer import Imported
from mu2net.store.usage import TaskUsage, Usage
from mu2net.system.arithmetic import Change
from mu2net.system.summary import (
    ChildSummary,
    EvaluationSummary,
    PathSummary,
    Prediction,
    ProbeSummary,
    SlotSummary,
    TaskSummary,
    Verification,
)
from mu2net.train.events import BatchDone, IntervalDone

PETS = TaskSummary("pets", ("cat", "dog"), False, "/data/pets", 900, 50, 50)
PETS_EVOLVED = replace(
    PETS,
    path_id="pets/0/1/2",
    agent="mu2net",
    validation=0.96,
    test=0.9375,
    num_params=3_400_000,
    added_params=1_234_567,
    accounted_params=2_345_678.5,
    reused=0.64,
    reused_from={"root": 0.4, "flowers": 0.24},
    flops=390_000_000,
    image_size=224,
    precision="float32",
    children=12,
    seconds=601.5,
)
FLOWERS = replace(PETS_EVOLVED, name="flowers", classes=("rose", "tulip", "lily"), reused_from={"root": 0.64})


INTACT = Verification(42, 123_456, (), (ProbeSummary("pets", "pets/0/1/2", "bit-equal", 64, 0.0),))
DAMAGED = Verification(
    42,
    123_456,
    ("component 0a1b (block_03 of tasks pets) holds other bytes than its name says",),
    (ProbeSummary("pets", "pets/0/1/2", "changed", 64, 0.25, "computed by a damaged component"),),
)


class FakeSystem:
    """Answers with constants, and writes down every call."""

    calls: list[tuple[str, dict[str, Any]]]
    errors: dict[str, BaseException]
    tasks_of_it: list[TaskSummary]
    verification: Verification
    repaired: Repaired
    removed: tuple[str, ...]
    elsewhere: tuple[str, ...]
    change: Change
    verdict: bool
    events: list[object]
    unevolved, damaged = PETS, DAMAGED

    directory = Path("somewhere")
    root_spec = "efficientnet-lite0"
    num_root_params = 3_400_000
    seed = 7

    @classmethod
    def _note(cls, call: str, /, **arguments: Any) -> None:
        cls.calls.append((call, arguments))
        if call in cls.errors:
            raise cls.errors[call]

    @classmethod
    def create(cls, directory: Path, **options: Any) -> FakeSystem:
        cls._note("create", directory=directory, **options)
        directory.mkdir(parents=True)
        (directory / "mu2net.toml").touch()
        return cls()

    @classmethod
    def open(cls, directory: Path) -> FakeSystem:
        cls._note("open", directory=directory)
        return cls()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._note("close")

    def add_task(self, name: str, source: str, *, observer: Callable[[object], None], **options: Any) -> TaskSummary:
        observer(Preparing("decoding images", 1, 2))
        self._note("add_task", name=name, source=source, **options)
        return replace(PETS, name=name, is_private=options.get("is_private", False))

    def evolve(self, name: str, *, observer: Callable[[object], None], **options: Any) -> TaskSummary:
        self._note("evolve", name=name, **options)
        for event in self.events:
            observer(event)
        return self.task(name)

    def predict_many(
        self, names: Sequence[str], images: Sequence[Path], *, top: int, on_bad_image: Any, observer: Any = None
    ) -> Iterator[Prediction]:
        if images:
            self._note("predict_many", names=names, images=list(images), top=top)
        for name in names:
            self.task(name)
        return self._predictions(names, images, top, on_bad_image)

    def _predictions(
        self, names: Sequence[str], images: Sequence[Path], top: int, on_bad_image: Any
    ) -> Iterator[Prediction]:
        for image in images:
            if on_bad_image is not None and "bad" in str(image):
                on_bad_image(ImageError(f"image '{image}' does not decode"))
                continue
            for name in names:
                yield Prediction(name, str(image), "cat", 0.971, (("cat", 0.971), ("dog", 0.029))[:top])

    def evaluate(self, name: str, *, split: str, observer: Callable[[object], None]) -> EvaluationSummary:
        self._note("evaluate", name=name, split=split)
        observer(BatchDone("validate", 0, 1, 2))
        return EvaluationSummary(name, "pets/0/1/2", split, 50, 0.94, 0.9375, {"cat": 0.98, "dog": 0.9})

    def tasks(self) -> list[TaskSummary]:
        self._note("tasks")
        return self.tasks_of_it

    def task(self, name: str) -> TaskSummary:
        self._note("task", name=name)
        for task in self.tasks_of_it:
            if task.name == name:
                return task
        raise UnknownNameError("task", name, [task.name for task in self.tasks_of_it])

    def path(self, name: str) -> PathSummary:
        self._note("path", name=name)
        slots = (
            SlotSummary("stem", "stem", "a" * 64, 1_000, "root", ("pets", "flowers")),
            SlotSummary("block_00", "block", "b" * 64, 20_000, "flowers", ("pets", "flowers")),
            SlotSummary("head", "head", "c" * 64, 3_000, "pets", ("pets",)),
        )
        mutations = (
            Mutation("hp:opt_lr", 0.01, 0.02),
            Mutation("clone:block_00"),
            Mutation("clone:block_01"),
            Mutation("clone:norm", is_forced=True),
        )
        hparams = {"opt_lr": 0.02, "ds_crop": True}
        return PathSummary(
            "pets/0/1/2", name, "mu2net", ("flowers/0/0/1", "root"), slots, hparams, mutations, 0.96, 0.9375
        )

    def history(self, name: str) -> list[ChildSummary]:
        self._note("history", name=name)
        path = self.path(name)
        child = ChildSummary(
            path.id, 0, 1, "root", "mu2net", 0.96, (0.9, 0.96), 1800, 75.2, 24_000, True, True, path.mutations, {}
        )
        return [replace(child, id="pets/0/0/0", quality=0.5, is_kept=False, is_live=False, mutations=()), child]

    def verify(self, *, observer: Callable[[object], None], **options: Any) -> Verification:
        self._note("verify", **options)
        observer(Preparing("hashing components", 1, 40))
        return self.verification

    def quarantine(self, digests: Sequence[str]) -> list[Path]:
        self._note("quarantine", digests=tuple(digests))
        return [Path("quarantine") / f"{digest[:8]}.safetensors.0" for digest in digests]

    def repair(self, other: Path, digests: Sequence[str]) -> Repaired:
        self._note("repair", other=other, digests=tuple(digests))
        return self.repaired

    def backup(self, where: str, *, observer: Callable[[object], None]) -> Backup:
        self._note("backup", where=where)
        observer(Preparing("copying", 1, 2))
        return Backup(12, 30, 4_500_000)

    def classifier(self, **options: Any) -> str:
        self._note("classifier", **options)
        if options["judge"] is not None:
            type(self).verdict = options["judge"](network_path("pets/0/1/2", 0.95))
        return "classifier"

    def precision_change(self, path: NetworkPath, precision: Any) -> Change:
        self._note("precision_change", path=path.id, precision=precision)
        return self.change

    def import_task(self, other: Path, name: str, **options: Any) -> Imported:
        self._note("import_task", other=other, name=name, **options)
        here = options["as_name"] or name
        return Imported(here, f"{here}/0/1/2", ("flowers", here), 12, 30, 4_500_000)

    def export_system(self, directory: Path, tasks: Sequence[str] | None = None) -> list[Imported]:
        self._note("export_system", directory=directory, tasks=tasks)
        return [Imported(name, f"{name}/0/0/0", (name,), 2, 0, 1_000) for name in tasks or ("pets",)]

    def provenance(self, name: str) -> Provenance:
        self._note("provenance", name=name)
        at = datetime(2026, 11, 1, 12, 30, tzinfo=UTC)
        root = Origin("root", None, "", "0.1.0", at, None, None, ())
        own = Origin("pets/0/1/2", "pets", "mu2net", "0.1.0", at, Digest("d" * 64), "clone:norm", ("flowers", "pets"))
        slots = (
            SlotProvenance("stem", Digest("a" * 64), (root,), ()),
            SlotProvenance("norm", Digest("b" * 64), (own,), (Digest("d" * 64), Digest("e" * 64))),
        )
        return Provenance(name, "pets/0/1/2", ("flowers", "pets"), slots, self.removed, self.elsewhere)

    def plan_removal(self, name: str, *, with_influence: bool) -> Removal:
        self._note("plan_removal", name=name, with_influence=with_influence)
        paths = {name: f"{name}/0/0/0", **({"pets": "pets/0/1/2"} if with_influence else {})}
        return Removal(name, paths, ((name, 3),), with_influence)

    def remove(self, name: str, *, with_influence: bool) -> Removal:
        self._note("remove", name=name, with_influence=with_influence)
        return self.plan_removal(name, with_influence=with_influence)

    def undo(self) -> Removal:
        self._note("undo")
        return self.plan_removal("flowers", with_influence=False)

    def collect(self, *, is_dry: bool, **options: Any) -> Collected:
        self._note("collect", is_dry=is_dry, **options)
        files = (Digest("a" * 64), Digest("b" * 64))
        return Collected(files, 2_500_000, 1, (Path(".tmp-1"),), is_done=not is_dry)

    def compact_history(self, name: str | None = None) -> int:
        self._note("compact_history", name=name)
        return 7

    def usage(self) -> Usage:
        self._note("usage")
        rows = (TaskUsage(None, 10, 13_600_000), TaskUsage("pets", 4_000_000, 9_600_000))
        return Usage(rows, 17_600_000, 950_000_000, 512)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[FakeSystem]:
    """A fresh fake in place of ``System``, in a folder that holds nothing but a system in ``mu2net-system``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MU2NET_SYSTEM", raising=False)
    monkeypatch.delenv("MU2NET_DEBUG", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)
    (tmp_path / "mu2net-system").mkdir()
    (tmp_path / "mu2net-system" / "mu2net.toml").touch()

    class Fresh(FakeSystem):
        calls: list[tuple[str, dict[str, Any]]] = []  # noqa: RUF012 - made anew for every test
        errors: dict[str, BaseException] = {}  # noqa: RUF012
        tasks_of_it = [PETS_EVOLVED, FLOWERS]  # noqa: RUF012
        verification = INTACT
        repaired = Repaired((Digest("a" * 64),), ())
        removed = elsewhere = ()
        events: list[object] = []  # noqa: RUF012

    monkeypatch.setattr(mu2net.system, "System", Fresh)
    return Fresh


@pytest.fixture
def run() -> Callable[..., Result]:
    """Runs a command line in this process."""

    def invoke(*arguments: str | Path, **options: Any) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="mu2net", **options)

    return invoke


def network_path(identity: str, quality: float, test: float | None = None) -> NetworkPath:
    """A path of two slots, one of which its task trained."""
    task = identity.partition("/")[0]
    components = (
        Component(Digest("a" * 64), Slot("stem", "stem"), 1_000),
        Component(Digest("b" * 64), Slot("head", "head"), 2_500, task),
    )
    metrics = Metrics(quality, 10, (quality,), examples=800, seconds=3.2, test=test)
    return NetworkPath(identity, task, components, {}, "root", "mu2net", metrics)


@pytest.fixture(name="network_path")
def make_network_path() -> Callable[..., NetworkPath]:
    """Makes paths."""
    return network_path


@pytest.fixture
def recorded() -> list[object]:
    """The events of a cycle of four children in two generations, as a search sends them."""
    first, second = ("pets/0/0/0", "pets/0/0/1"), ("pets/0/1/0", "pets/0/1/1")
    events: list[object] = [
        Preparing("decoding the images of pets", 1, 1000),
        Preparing("decoding the images of pets", 1000, 1000),
        CycleStarted("pets", 0, "mu2net", Budget(children=4), 0, 0.0),
        ChildPlanned(ChildBudget(2, 400)),
    ]
    for number, (ids, qualities) in enumerate(((first, (0.5, 0.75)), (second, (0.7, 0.9)))):
        events.append(GenerationStarted(number, ids))
        events.append(BatchDone("prepare", -1, 1, 2))
        for interval in range(2):
            events += [BatchDone("train", interval, 2, 4), BatchDone("validate", interval, 1, 2)]
            events += [
                IntervalDone(child, interval, quality - 0.1 + 0.1 * interval, 0.3, 400, 0.01, 1.6)
                for child, quality in zip(ids, qualities, strict=True)
            ]
        for child, quality in zip(ids, qualities, strict=True):
            is_better = quality > (0.75 if number else 0.0)
            events.append(ChildRecorded(network_path(child, quality), quality, is_better, is_better))
    best = network_path("pets/0/1/1", 0.9, 0.88)
    return [*events, Publishing(best), Published(best, 0.9, True)]
