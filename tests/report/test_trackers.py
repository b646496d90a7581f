"""Searches written into TensorBoard and MLflow, by the real libraries, and read back from what they wrote."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from mu2net.cli import app
from mu2net.core.path import Metrics, Mutation
from mu2net.core.path import Path as NetworkPath
from mu2net.errors import ConfigError
from mu2net.report.trackers import Tracker, open_tracker
from mu2net.search.budget import Budget
from mu2net.search.events import ChildRecorded, CycleStarted, Published, Publishing, ignore
from mu2net.system import System
from mu2net.train.events import IntervalDone, Warned

HPARAMS = {"opt_lr": 0.01, "opt_nesterov": True, "opt_lr_schedule": "cosine", "num_layers": 4}


def child(number, quality, test=None):
    metrics = Metrics(quality, 1000, (quality - 0.1, quality), 80, 2.5, test)
    mutations = (Mutation("hp:opt_lr", 0.1, 0.01), Mutation("clone:norm|x"))
    return NetworkPath(f"pets/1/0/{number}", "pets", (), HPARAMS, "root", "mu2net", metrics, mutations=mutations)


def search(children_done=0):
    """The events of a cycle of two children: the second is better, and is published."""
    yield IntervalDone("speed-0", 0, 0.1, 1.0, 8, 0.01, 0.1)
    yield CycleStarted("pets", 1, "mu2net", Budget(children=2), children_done, 0.0)
    for number, quality in enumerate((0.5, 0.75)):
        path = child(number, quality)
        for interval, accuracy in enumerate(path.metrics.validations):
            yield IntervalDone(path.id, interval, accuracy, 1 - accuracy, 40, 0.01 / (interval + 1), 1.25)
        yield ChildRecorded(path, quality - 0.01, is_kept=number == 1, is_best=True)
    yield Publishing(child(1, 0.75))
    yield Published(child(1, 0.75, test=0.625), 0.74, is_new=True)


def told_to(where, events):
    complaints = []
    tracker = open_tracker(where, "my system", complaints.append)
    for event in events:
        tracker(event)
    tracker.close()
    assert complaints == []


def scalars(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        found = EventAccumulator(str(folder))
        found.Reload()
        return {
            name: [(point.step, pytest.approx(point.value)) for point in found.Scalars(name)]
            for name in found.Tags()["scalars"]
        }


def test_tensorboard_has_a_run_for_the_cycle_and_one_for_every_child(tmp_path):
    told_to(f"tensorboard:{tmp_path}/runs", search())
    first, second = (scalars(tmp_path / "runs" / "pets" / "1" / "0" / str(number)) for number in range(2))
    assert first["validation/accuracy"] == [(0, 0.4), (1, 0.5)]
    assert second["train/loss"] == [(0, 0.35), (1, 0.25)]
    assert second["train/learning_rate"] == [(0, 0.01), (1, 0.005)]
    assert second["result/score"] == [(0, 0.74)]
    cycle = scalars(tmp_path / "runs" / "pets" / "1")
    assert cycle["score/child"] == [(0, 0.49), (1, 0.74)]
    assert cycle["score/best"] == [(0, 0.49), (1, 0.74)]
    assert cycle["result/test_accuracy"] == [(0, 0.625)]


@pytest.fixture
def mlflow_client(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow import MlflowClient

        yield MlflowClient(tracking_uri=f"file://{tmp_path}/mlruns")


def test_mlflow_has_an_experiment_per_system_and_runs_within_runs(tmp_path, mlflow_client):
    told_to(f"mlflow:file://{tmp_path}/mlruns", search())
    experiment = mlflow_client.get_experiment_by_name("my system").experiment_id
    runs = {run.info.run_name: run for run in mlflow_client.search_runs([experiment])}
    assert set(runs) == {"pets/1", "pets/1/0/0", "pets/1/0/1"}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    best = runs["pets/1/0/1"]
    assert best.data.tags["mlflow.parentRunId"] == runs["pets/1"].info.run_id
    assert best.data.params == {name: str(value) for name, value in HPARAMS.items()}
    assert best.data.metrics["result/score"] == 0.74
    assert best.data.tags["mu2net.mutations"] == "hp:opt_lr, clone:norm|x"
    assert (best.data.tags["mu2net.is_kept"], runs["pets/1/0/0"].data.tags["mu2net.is_kept"]) == ("true", "false")
    curve = mlflow_client.get_metric_history(best.info.run_id, "validation/accuracy")
    assert [(point.step, point.value) for point in curve] == [(0, 0.65), (1, 0.75)]
    assert runs["pets/1"].data.metrics["result/test_accuracy"] == 0.625


def test_a_cycle_that_was_stopped_goes_on_in_its_run(tmp_path, mlflow_client):
    """What was in training is ended as stopped; curves of the cycle go on where they were."""
    first, rest = list(search())[:6], list(search(children_done=1))
    told_to(f"mlflow:file://{tmp_path}/mlruns", first)
    experiment = mlflow_client.get_experiment_by_name("my system").experiment_id
    states = {run.info.run_name: run.info.status for run in mlflow_client.search_runs([experiment])}
    assert states == {"pets/1": "KILLED", "pets/1/0/0": "FINISHED", "pets/1/0/1": "KILLED"}
    told_to(f"mlflow:file://{tmp_path}/mlruns", [rest[1], *rest[5:]])
    (cycle,) = (run for run in mlflow_client.search_runs([experiment]) if run.info.run_name == "pets/1")
    assert cycle.info.status == "FINISHED"
    points = mlflow_client.get_metric_history(cycle.info.run_id, "score/child")
    assert [(point.step, point.value) for point in points] == [(0, 0.49), (1, 0.74)]


def test_the_best_score_goes_on_where_it_was(tmp_path):
    """A cycle that goes on, or another one of the task: what was found before it counts."""
    speed, started, *rest = search()
    told_to(f"tensorboard:{tmp_path}/runs", [speed, replace(started, best_score=0.6), *rest])
    cycle = scalars(tmp_path / "runs" / "pets" / "1")
    assert cycle["score/child"] == [(0, 0.49), (1, 0.74)]
    assert cycle["score/best"] == [(0, 0.6), (1, 0.74)]


def test_a_new_system_of_the_same_name_has_runs_of_its_own(tmp_path, mlflow_client):
    """MLflow refuses other hyperparameters for a run, and a finished cycle never goes on."""
    for _ in range(2):
        told_to(f"mlflow:file://{tmp_path}/mlruns", search())
    experiment = mlflow_client.get_experiment_by_name("my system").experiment_id
    names = sorted(run.info.run_name for run in mlflow_client.search_runs([experiment]))
    assert names == sorted(["pets/1", "pets/1/0/0", "pets/1/0/1"] * 2)


def test_a_cycle_that_nobody_ended_is_ended_by_the_next(tmp_path, mlflow_client):
    first = list(search())[:6]
    other = CycleStarted("birds", 0, "mu2net", Budget(children=2), 0, 0.0)
    told_to(f"mlflow:file://{tmp_path}/mlruns", [*first, other])
    experiment = mlflow_client.get_experiment_by_name("my system").experiment_id
    states = {run.info.run_name: run.info.status for run in mlflow_client.search_runs([experiment])}
    assert states == {"pets/1": "KILLED", "pets/1/0/0": "FINISHED", "pets/1/0/1": "KILLED", "birds/0": "KILLED"}


@pytest.mark.filterwarnings("ignore")  # MLflow uses what SQLAlchemy deprecates
def test_mlflow_writes_a_data_base_too(tmp_path):
    where = f"sqlite:///{tmp_path}/runs.db"
    told_to(f"mlflow:{where}", search())
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=where)
    runs = client.search_runs([client.get_experiment_by_name("my system").experiment_id])
    assert sorted(run.info.run_name for run in runs) == ["pets/1", "pets/1/0/0", "pets/1/0/1"]


class BrokenBoard:
    def __init__(self):
        self.calls = 0

    def open(self, name, parent):
        self.calls += 1
        raise ConnectionError("the server has gone")


def test_a_board_that_fails_is_told_once_and_ends_nothing():
    board, complaints = BrokenBoard(), []
    tracker = Tracker(board, "mlflow:http://there", complaints.append)
    for event in search():
        tracker(event)
    tracker.close()
    assert board.calls == 1
    assert complaints == [
        Warned("nothing more is written to mlflow:http://there: ConnectionError: the server has gone")
    ]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("wandb:here", r"'wandb:here' is no place .*tensorboard:FOLDER, mlflow:URI"),
        ("tensorboard:", "no place to track to"),
        ("tensorboard", "no place to track to"),
        ("mlflow:gopher://there", "mlflow:gopher://there cannot be opened"),
    ],
)
def test_where_nothing_can_be_written(where, message):
    with pytest.raises(ConfigError, match=message):
        open_tracker(where, "my system", ignore)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"file/runs cannot be opened: NotADirectoryError"):
        open_tracker(f"tensorboard:{tmp_path}/file/runs", "my system", ignore)


@pytest.mark.parametrize(("kind", "module"), [("tensorboard", "torch.utils.tensorboard"), ("mlflow", "mlflow")])
def test_what_is_not_installed_is_named(kind, module, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(ConfigError, match=rf"pip install 'mu2net\[{kind}\]'"):
        open_tracker(f"{kind}:anywhere", "my system", ignore)


def test_a_real_search_from_the_command_line(tmp_path, pictures):
    """Through the real command: what the boards hold is what the system recorded."""
    folder = tmp_path / "system"
    System.create(folder, root="vit:dim=16,depth=2,heads=2,patch=4,image=8").close()
    with System.open(folder) as system:
        system.add_task("colors", pictures(tmp_path / "pictures", counts=(8, 4, 4)))
    small = ("--children", "2", "--num-validations", "2", "--examples-per-validation", "16", "--workers", "1")
    where = ("--system", str(folder), "--track", f"tensorboard:{tmp_path}/runs")
    result = CliRunner().invoke(app, ["evolve", "colors", *small, *where, "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)[0]["name"] == "colors"
    with System.open(folder) as system:
        children = system.history("colors")
        score = system.task("colors").validation
    assert len(children) == 2
    for found in children:
        curve = scalars(tmp_path / "runs" / found.id)["validation/accuracy"]
        assert [value for _, value in curve] == list(found.validations)
    assert scalars(tmp_path / "runs" / "colors" / "0")["result/quality"] == [(0, score)]
