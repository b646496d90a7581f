"""``System``: everything that a user does with a network that keeps learning."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from types import TracebackType
from typing import Self

from mu2net.core.path import Value
from mu2net.data.load import LoadedTask, load_task
from mu2net.data.rows import Progress
from mu2net.data.source import TaskSource
from mu2net.errors import ConfigError, UnknownNameError
from mu2net.nn.flops import count_parameters
from mu2net.nn.roots import backbone_from_config, load_root
from mu2net.search.budget import Budget
from mu2net.search.config import check_seed
from mu2net.search.events import Observer, Preparing, ignore
from mu2net.search.images import CACHE_NAME, load_recorded_task
from mu2net.store.config import SystemConfig
from mu2net.store.records import NewComponent, TaskRecord
from mu2net.store.store import Store
from mu2net.system import inference, overview
from mu2net.system.evolution import Evolution
from mu2net.system.prediction import Answering
from mu2net.system.summary import (
    ChildSummary,
    EvaluationSummary,
    PathSummary,
    TaskSummary,
)


class System(Answering):
    """One image-classification network that keeps learning tasks and forgets none.

    Make one with ``System.create`` or ``System.open``. Any number of processes may read a system while one evolves it.

    Example:
        >>> import mu2net
        >>> system = mu2net.System.create("pets", root="vit:dim=32,depth=2,heads=2,patch=4,image=16")
        >>> system.add_task("digits", "demo:digits").num_train
        1252
        >>> task = system.evolve("digits", children=2, examples_per_validation=256, num_validations=2)
        >>> task.children, task.precision is not None
        (2, True)
        >>> system.verify().is_intact
        True

    Args:
        store: Where it lives.
    """

    def __init__(self, store: Store) -> None:
        super().__init__(store, backbone_from_config(store.config.backbone))
        self._tasks: dict[str, LoadedTask] = {}
        self._observer: Observer = ignore

    @classmethod
    def create(
        cls,
        directory: FilePath | str,
        *,
        root: str = "efficientnet-lite0",
        image_size: int | None = None,
        seed: int = 0,
        registry_url: str | None = None,
    ) -> System:
        """Make a new system from a pretrained root and return it.

        Args:
            directory: The folder, which may exist if it is no system yet.
            root: ``efficientnet-lite0``, ``hf:OWNER/NAME``, ``file:PATH.safetensors`` or
                ``vit:dim=192,depth=3,heads=3,patch=4,image=32``.
            image_size: Default side of the square input, in pixels; the root's own by default.
            seed: Seed of everything random in the system.
            registry_url: SQLAlchemy URL of an empty PostgreSQL data base that keeps the registry, for instance
                ``postgresql+psycopg://user@host/name`` (extra ``postgres``); a file in the folder by default. It is
                written into ``mu2net.toml`` as it is: leave a password to PostgreSQL's own password file.

        Raises:
            ConfigError: There is a system already, the seed is not from 0 to 2**63 - 1, or the URL is not possible.
            StoreError: The data base cannot be reached or written.
            RootError: The root cannot be read, or does not fit the image size.
            UnknownNameError: There is no such root.
        """
        check_seed(seed)
        loaded = load_root(root, image_size=image_size, seed=seed)
        backbone = loaded.backbone
        config = SystemConfig(
            root=root,
            root_source=json.dumps(loaded.source, sort_keys=True),
            backbone=backbone.config(),
            seed=seed,
            registry_url=registry_url,
        )
        store = Store.create(directory, config)
        anatomy = backbone.anatomy
        hparams: dict[str, Value] = {"num_layers": anatomy.depth, "ds_image_size": anatomy.image_size}
        store.put_root(
            [
                NewComponent(slot, tensors, count_parameters(backbone, slot, tensors))
                for slot, tensors in loaded.components
            ],
            hparams,
        )
        return cls(store)

    @classmethod
    def open(cls, directory: FilePath | str) -> System:
        """Return a system that exists.

        Raises:
            ConfigError: There is no system in the folder.
            FormatError: A newer version of mu2net wrote it.
            StoreError: It is damaged; names what is.
        """
        return cls(Store.open(directory))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of networks and images in memory; the system on disk is complete at any time."""
        super().close()
        self._tasks.clear()

    @property
    def directory(self) -> FilePath:
        """The folder of the system."""
        return self._store.directory

    @property
    def root_spec(self) -> str:
        """The root as it was named at creation."""
        return self._store.config.root

    @property
    def num_root_params(self) -> int:
        """Parameters of one full copy of the root."""
        return self._backbone.anatomy.num_params

    @property
    def seed(self) -> int:
        """Seed of everything random in the system."""
        return self._store.config.seed

    def add_task(
        self,
        name: str,
        source: str | FilePath,
        *,
        validation: str | FilePath | None = None,
        test: str | FilePath | None = None,
        image_column: str | None = None,
        label_column: str | None = None,
        group_column: str | None = None,
        is_private: bool = False,
        allow_from: Sequence[str] | None = None,
        deny_from: Sequence[str] = (),
        skip_bad_images: bool = False,
        observer: Observer = ignore,
    ) -> TaskSummary:
        """Add a task; its images are read and checked, and stay where they are.

        Args:
            name: Name of the task: lower-case letters, digits, ``-``, ``_`` and ``.``.
            source: A folder of class folders, a Parquet or CSV file or a folder of them, ``hf:OWNER/NAME[:CONFIG]``
                or ``demo:NAME``.
            validation: Another source for the validation split; by default the source's own, else 5 % of train.
            test: Another source for the test split; likewise.
            image_column: Column of the images; found by its type by default.
            label_column: Column of the labels; likewise.
            group_column: Column whose equal values never straddle two splits.
            is_private: Whether its knowledge may never reach another task.
            allow_from: The only tasks whose data may shape what it learns; all that are not private by default.
            deny_from: Tasks whose data may not.
            skip_bad_images: Whether images that do not decode are counted and left out, instead of an error.
            observer: Told about progress.

        Raises:
            ConfigError: The name is taken or not safe.
            DataError: The source cannot be used; says why and what to do.
            UnknownNameError: A task of ``allow_from`` or ``deny_from`` does not exist.
        """
        known = self._store.compartments()  # also of tasks that were removed, or only shaped what was imported
        for other in (*(allow_from or ()), *deny_from):
            if other not in known:
                raise UnknownNameError("task", other, known)
        if any(task.name == name for task in self._store.tasks()):
            raise ConfigError(f"task {name!r} exists already; choose another name")
        description = TaskSource(
            name=name,
            source=str(source),
            validation=None if validation is None else str(validation),
            test=None if test is None else str(test),
            image_column=image_column,
            label_column=label_column,
            group_column=group_column,
            skip_bad_images=skip_bad_images,
        ).pinned()
        data = load_task(description, self.directory / CACHE_NAME, progress=self._decoding(name, observer))
        counts = {"train": len(data.train), "validation": len(data.validation), "test": len(data.test)}
        self._store.add_task(
            TaskRecord(
                name,
                description.model_dump(mode="json"),
                data.classes,
                data.fingerprint,
                is_private,
                counts | {"skipped": len(data.skipped)},
                allow_from=None if allow_from is None else tuple(allow_from),
                deny_from=tuple(deny_from),
            )
        )
        self._tasks[name] = data
        return self.task(name)

    def evolve(
        self,
        name: str,
        *,
        agent: str | None = None,
        seconds: float | None = None,
        children: int | None = None,
        examples: int | None = None,
        s_size: float | None = None,
        s_compute: float | None = None,
        seed: int | None = None,
        hparams: Mapping[str, Value] | None = None,
        fixed: Sequence[str] | None = None,
        generation_size: int | None = None,
        batch_size: int | None = None,
        num_validations: int | None = None,
        examples_per_validation: int | None = None,
        precision: str | None = None,
        attention: str | None = None,
        device: str | None = None,
        threads: int | None = None,
        workers: int | None = None,
        views: int | None = None,
        rounding: str | None = None,
        cache_limit: int | None = None,
        restart: bool = False,
        observer: Observer = ignore,
        handle_interrupts: bool = False,
    ) -> TaskSummary:
        """Run one cycle for a task: search for its best path within a budget, and publish it.

        An interrupted cycle goes on: with the options that it was started with, the budget counted over all runs.
        Another budget may be given then; without any it keeps its own. A new cycle without any takes 10 minutes.

        Args:
            name: The task.
            agent: Name of the agent, see ``mu2net.core.agents.AGENTS``; ``mu2net`` by default.
            seconds: Most wall-clock seconds of the cycle.
            children: Most children of the cycle.
            examples: Most training examples of the cycle.
            s_size: Score factor per root's worth of accounted parameters, in ]0, 1]; 1 (off) by default.
            s_compute: Score factor per root's worth of FLOPs, in ]0, 1]; 1 (off) by default.
            seed: Seed of the cycle; the system's by default.
            hparams: Starting values of hyperparameters.
            fixed: Hyperparameters that keep their starting values, for instance ``["ds_image_size"]``.
            generation_size: Children that are sampled together; 2 by default.
            batch_size: Images per training step; 64 by default.
            num_validations: Validations per child; 4 by default.
            examples_per_validation: Training examples per validation; planned from the budget by default.
            precision: ``auto``, ``float32`` or ``bfloat16``.
            attention: ``auto`` (what is measured to be faster here), ``explicit`` or ``sdpa``; bits depend on it.
            device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
            threads: Threads per worker process; 1 by default.
            workers: Worker processes; one per core by default, at most ``generation_size``. No result depends on it.
            views: Augmented views per image that are drawn once, so that their activations can be kept; 0, the default,
                augments anew in every epoch.
            rounding: ``exact``, the default, or ``bfloat16``: whether activations that enter trained slots are rounded,
                which halves the room of kept ones.
            cache_limit: Bytes of activations that are kept on the disk, over all tasks; 0 for none. By default 20 % of
                the free disk, but no more than 20 % of the memory. Results do not depend on it.
            restart: Whether an interrupted cycle is given up (its children stay in the history) and a new one starts.
            observer: Told what happens.
            handle_interrupts: Whether Ctrl-C ends the cycle cleanly instead of raising.

        Raises:
            BudgetError: The budget is too small for one interval; nothing was published.
            ConfigError: An option is not possible, or differs from those of the interrupted cycle.
            LockedError: Another process evolves this task.
            LeaseLostError: Another process took the task over while this one did not answer.
            TrainingStopped: Ctrl-C was pressed twice; the cycle can be resumed.
            UnknownNameError: There is no such task or agent.
        """
        given = {
            "agent": agent,
            "s_size": s_size,
            "s_compute": s_compute,
            "seed": seed,
            "hparams": None if hparams is None else dict(hparams),
            "fixed": None if fixed is None else tuple(fixed),
            "generation_size": generation_size,
            "batch_size": batch_size,
            "num_validations": num_validations,
            "examples_per_validation": examples_per_validation,
            "precision": precision,
            "attention": attention,
            "device": device,
            "threads": threads,
            "views": views,
            "rounding": rounding,
        }
        evolution = Evolution(
            self._store,
            self._backbone,
            name,
            options={key: value for key, value in given.items() if value is not None},
            budget=None if (seconds, children, examples) == (None, None, None) else Budget(seconds, children, examples),
            workers=workers,
            restart=restart,
            cache_limit=cache_limit,
        )
        evolution.run(lambda tell: self._data(name, tell), observer, handle_interrupts=handle_interrupts)
        return self.task(name)

    def evaluate(self, name: str, *, split: str = "test", observer: Observer = ignore) -> EvaluationSummary:
        """Measure the accuracy of a task's live path anew, in the arithmetic that it was trained with.

        Args:
            name: The task.
            split: ``train``, ``validation`` or ``test``.
            observer: Told about progress.

        Raises:
            ConfigError: The task was never evolved.
            UnknownNameError: There is no such task or split.
        """
        path = self._live(name)
        return inference.evaluate_path(self._networks, path, self._data(name, observer), split, observer)

    def tasks(self) -> list[TaskSummary]:
        """Return the leaderboard: one row per task, in the order in which they were added."""
        return overview.summarize_tasks(self._store)

    def task(self, name: str) -> TaskSummary:
        """Return a task's row of the leaderboard.

        Raises:
            UnknownNameError: There is no such task.
        """
        self._store.task(name)
        return next(task for task in self.tasks() if task.name == name)

    def path(self, name: str) -> PathSummary:
        """Return a task's live path: for every slot, whose component it is.

        Raises:
            ConfigError: The task was never evolved.
            UnknownNameError: There is no such task.
        """
        return overview.summarize_path(self._store, self._live(name))

    def history(self, name: str) -> list[ChildSummary]:
        """Return every sampled child of a task, in the order of sampling.

        Raises:
            UnknownNameError: There is no such task.
        """
        return overview.summarize_history(self._store, name)

    def _data(self, name: str, observer: Observer) -> LoadedTask:
        """Return a task's images, which must be those that it was added with."""
        progress = self._decoding(name, observer)
        if name not in self._tasks:
            self._tasks[name] = load_recorded_task(self._store, name, progress)
        return self._tasks[name]

    def _decoding(self, name: str, observer: Observer) -> Progress:
        """Return how decoding tells how far it is: always the observer of the running call, since images are kept."""
        self._observer = observer
        return lambda done, total: self._observer(Preparing(f"decoding the images of {name}", done, total))
