"""What a search tells, written into the tools that people watch training with: TensorBoard and MLflow.

A tracker is one more observer: it is never a source of truth, and one that fails stops and says so, while the search
goes on. A cycle is a run, and every child a run of its own below it: its validations as curves, its hyperparameters
and how it came to be beside them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from mu2net.core.path import Path as TaskPath
from mu2net.core.path import Value
from mu2net.errors import ConfigError
from mu2net.search.events import ChildRecorded, CycleStarted, Observer, Published, Publishing
from mu2net.train.events import IntervalDone, Warned


class Run(Protocol):
    """Where one run is written."""

    def points(self, values: Mapping[str, float], step: int) -> None:
        """Add a point to every curve that is named."""
        ...

    def describe(self, params: Mapping[str, Value], results: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """Write what the run was given, what came out of it, and what else there is to say."""
        ...

    def end(self, *, is_finished: bool) -> None:
        """Close it."""
        ...


class Board(Protocol):
    """A tool that keeps runs."""

    def open(self, name: str, parent: str | None) -> Run:
        """Open a run; one of the same name is continued.

        Args:
            name: ``TASK/CYCLE`` or the id of a path.
            parent: The name of the run that it belongs to.
        """
        ...


class Tracker:
    """An observer that writes a search into a board.

    It never raises: the first failure of the board ends the tracking, and is told.

    Args:
        board: Where runs are kept.
        what: What the board is called, for the message.
        tell: Told where the board fails.
    """

    def __init__(self, board: Board, what: str, tell: Observer) -> None:
        self._board, self._what, self._tell = board, what, tell
        self._cycle: tuple[str, Run] | None = None
        self._children: dict[str, Run] = {}
        self._recorded = 0
        self._best = float("-inf")
        self._has_failed = False

    def __call__(self, event: object) -> None:
        """Write an event, where it is worth it."""
        if self._has_failed:
            return
        with self._guarded():
            match event:
                case CycleStarted():
                    self._start(event)
                case IntervalDone():
                    self._interval(event)
                case ChildRecorded():
                    self._child(event)
                case Publishing():
                    self._end_children(is_finished=False)
                case Published():
                    self._publish(event)
                case _:
                    pass

    def close(self) -> None:
        """End what is open: it was stopped before it was published."""
        if self._has_failed:
            return
        with self._guarded():
            self._end_open()

    def _end_open(self) -> None:
        self._end_children(is_finished=False)
        if self._cycle:
            self._cycle[1].end(is_finished=False)
        self._cycle = None

    def _start(self, event: CycleStarted) -> None:
        self._end_open()
        name = f"{event.task}/{event.number}"
        run = self._board.open(name, None)
        self._cycle, self._recorded = (name, run), event.children_done
        self._best = float("-inf") if event.best_score is None else event.best_score

    def _interval(self, event: IntervalDone) -> None:
        if self._cycle is None or not event.child.startswith(f"{self._cycle[0]}/"):
            return  # a child that only measures how fast the machine is
        run = self._run_of(event.child)
        points = {
            "validation/accuracy": event.accuracy,
            "train/loss": event.loss,
            "train/learning_rate": event.lr,
            "train/examples": event.examples,
            "time/seconds": event.seconds,
        }
        run.points(points, event.interval)

    def _child(self, event: ChildRecorded) -> None:
        path = event.path
        run = self._run_of(path.id)
        results = _results(path, event.score)
        run.describe(
            path.hparams,
            results,
            {**_tags(path), "is_kept": str(event.is_kept).lower(), "is_best": str(event.is_best).lower()},
        )
        run.end(is_finished=True)
        self._children.pop(path.id, None)
        assert self._cycle, "children belong to a cycle"
        self._best = max(self._best, event.score)
        points = {"score/child": event.score, "score/best": self._best, "quality/child": path.quality}
        self._cycle[1].points(points, self._recorded)
        self._recorded += 1

    def _publish(self, event: Published) -> None:
        if self._cycle is None:
            return
        path, run = event.path, self._cycle[1]
        results = _results(path, event.score)
        tags = {**_tags(path), "path": path.id, "is_new": str(event.is_new).lower()}
        run.describe(path.hparams, results, tags)
        run.end(is_finished=True)
        self._cycle = None

    def _run_of(self, child: str) -> Run:
        if child not in self._children:
            assert self._cycle, "children belong to a cycle"
            self._children[child] = self._board.open(child, self._cycle[0])
        return self._children[child]

    def _end_children(self, *, is_finished: bool) -> None:
        for run in self._children.values():
            run.end(is_finished=is_finished)
        self._children.clear()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._has_failed = True
            self._tell(Warned(f"nothing more is written to {self._what}: {type(error).__name__}: {error}"))


def open_tracker(where: str, system: str, tell: Observer) -> Tracker:
    """Return a tracker.

    Args:
        where: ``tensorboard:FOLDER``, or ``mlflow:URI`` with the address of a tracking server.
        system: The name of the system; MLflow keeps its runs as an experiment of that name.
        tell: Told where the tracker fails later.

    Raises:
        ConfigError: There is no such tool, it is not installed, or it cannot be opened.
    """
    kind, _, place = where.partition(":")
    if kind not in _BOARDS or not place:
        known = ", ".join(f"{name}:{what}" for name, (what, _) in _BOARDS.items())
        raise ConfigError(f"{where!r} is no place to track to; possible: {known}")
    try:
        board = _BOARDS[kind][1](place, system)
    except ModuleNotFoundError as error:
        raise ConfigError(f"{kind} needs {error.name}; install it: pip install 'mu2net[{kind}]'") from error
    except Exception as error:
        raise ConfigError(
            f"{where} cannot be opened: {type(error).__name__}: {error}; check the address, or go without --track"
        ) from error
    return Tracker(board, where, tell)


class TensorBoard:
    """A folder of event files, one folder in it per run.

    Args:
        folder: Made where it is missing.
        system: Not used: name a folder per system.
    """

    def __init__(self, folder: str, system: str) -> None:
        from torch.utils.tensorboard import SummaryWriter

        del system
        self._writer, self._folder = SummaryWriter, Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)

    def open(self, name: str, parent: str | None) -> Run:
        """Open the run of a cycle or a child; that of a child lies in the folder of its cycle."""
        del parent
        return _TensorBoardRun(self._writer(log_dir=str(self._folder / name)))


class _TensorBoardRun:
    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def points(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def describe(self, params: Mapping[str, Value], results: Mapping[str, float], tags: Mapping[str, str]) -> None:
        self._writer.add_hparams(dict(params), dict(results), run_name=".")
        rows = "".join(f"| {name} | {_in_cell(text)} |\n" for name, text in tags.items())
        self._writer.add_text("about", f"| | |\n|---|---|\n{rows}")

    def end(self, *, is_finished: bool) -> None:
        del is_finished
        self._writer.close()


class Mlflow:
    """An MLflow tracking server, or what else its client can write to.

    Args:
        uri: Its address.
        system: Name of the experiment.
    """

    def __init__(self, uri: str, system: str) -> None:
        # A search does not wait for minutes where the server is gone, and nothing is told to others.
        for name, value in _MLFLOW_SETTINGS.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        self._client = MlflowClient(tracking_uri=uri)
        found = self._client.get_experiment_by_name(system)
        self._experiment = self._client.create_experiment(system) if found is None else found.experiment_id
        self._ids: dict[str, str] = {}

    def open(self, name: str, parent: str | None) -> Run:
        """Open the run of a child, or of a cycle, which goes on where it was left; one that was finished never does."""
        query = f"tags.`{_RUN_TAG}` = '{name}' AND attributes.status != 'FINISHED'"
        known = [] if parent else self._client.search_runs([self._experiment], query)
        if known:
            identity = known[0].info.run_id
            self._client.update_run(identity, status="RUNNING")
        else:
            tags = {_RUN_TAG: name}
            if parent:
                tags["mlflow.parentRunId"] = self._ids[parent]
            identity = self._client.create_run(self._experiment, run_name=name, tags=tags).info.run_id
        if not parent:
            self._ids[name] = identity
        return _MlflowRun(self._client, identity)


class _MlflowRun:
    def __init__(self, client: Any, identity: str) -> None:
        self._client, self._identity = client, identity

    def points(self, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self._client.log_batch(self._identity, [Metric(name, value, now, step) for name, value in values.items()])

    def describe(self, params: Mapping[str, Value], results: Mapping[str, float], tags: Mapping[str, str]) -> None:
        from mlflow.entities import Metric, Param, RunTag

        now = int(1000 * time.time())
        self._client.log_batch(
            self._identity,
            [Metric(name, value, now, 0) for name, value in results.items()],
            [Param(name, str(value)) for name, value in params.items()],
            [RunTag(f"mu2net.{name}", text) for name, text in tags.items()],
        )

    def end(self, *, is_finished: bool) -> None:
        self._client.set_terminated(self._identity, "FINISHED" if is_finished else "KILLED")


_RUN_TAG = "mu2net.run"

_MLFLOW_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}

_BOARDS: Mapping[str, tuple[str, Callable[[str, str], Board]]] = {
    "tensorboard": ("FOLDER", TensorBoard),
    "mlflow": ("URI", Mlflow),
}


def _results(path: TaskPath, score: float) -> dict[str, float]:
    found = {"score": score, "quality": path.quality, "parameters": float(path.num_params)}
    if path.metrics is not None:
        found |= {"flops": float(path.metrics.flops), "examples": float(path.metrics.examples)}
        found["seconds"] = path.metrics.seconds
        if path.metrics.test is not None:
            found["test_accuracy"] = path.metrics.test
    # Where metrics are files, "score" cannot be beside "score/child".
    return {f"result/{name}": value for name, value in found.items()}


def _tags(path: TaskPath) -> dict[str, str]:
    changes = ", ".join(mutation.name for mutation in path.mutations)
    return {"parent": path.parent_id or "", "agent": path.agent, "mutations": changes}


def _in_cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
