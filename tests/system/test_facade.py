from __future__ import annotations

import shutil
from pathlib import Path as FilePath

import pytest

from mu2net.errors import ConfigError, DataError, ImageError, RootError, SourceError, StoreError, UnknownNameError
from mu2net.search.events import Preparing
from mu2net.system import System

ROOT = "vit:dim=16,depth=2,heads=2,patch=4,image=8"


class TestCreate:
    def test_a_new_system_is_its_root(self, tmp_path):
        with System.create(tmp_path / "new", root=ROOT, seed=4) as system:
            assert system.directory == tmp_path / "new"
            assert (system.root_spec, system.seed, system.tasks()) == (ROOT, 4, [])
            assert system.num_root_params > 5000
        with System.open(tmp_path / "new") as again:
            assert (again.root_spec, again.seed, again.num_root_params) == (ROOT, 4, system.num_root_params)

    def test_the_seed_makes_the_root(self, tmp_path):
        files = []
        for name, seed in (("a", 1), ("b", 1), ("c", 2)):
            System.create(tmp_path / name, root=ROOT, seed=seed)
            files.append({file.name for file in (tmp_path / name).rglob("*.safetensors")})
        assert files[0] == files[1]
        assert files[0] != files[2]

    def test_another_input_size_is_possible(self, tmp_path, pictures):
        system = System.create(tmp_path / "new", root=ROOT, image_size=12)
        system.add_task("one", pictures(tmp_path / "pictures"))
        assert system.evolve("one", agent="linear", children=1, batch_size=16, num_validations=1).image_size == 12

    def test_where_there_is_a_system_already(self, system):
        with pytest.raises(ConfigError, match="holds a system already"):
            System.create(system.directory, root=ROOT)
        assert [task.name for task in system.tasks()] == ["one", "two"]

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"root": "efficientnet-lite"}, UnknownNameError, "did you mean 'efficientnet-lite0'"),
            ({"root": "vit:dim=16"}, RootError, "depth"),
            ({"root": ROOT, "image_size": 9}, RootError, "9"),
            ({"root": "file:nowhere.safetensors"}, RootError, "nowhere"),
            ({"root": ROOT, "seed": -1}, ConfigError, "seed is -1"),
        ],
    )
    def test_what_cannot_be_created_leaves_nothing_behind(self, tmp_path, options, error, message):
        with pytest.raises(error, match=message):
            System.create(tmp_path / "new", **options)
        assert not (tmp_path / "new").exists()


class TestOpen:
    def test_where_there_is_none(self, tmp_path):
        with pytest.raises(ConfigError, match="no such folder"):
            System.open(tmp_path / "nowhere")
        with pytest.raises(ConfigError, match=r"it has no mu2net.toml"):
            System.open(tmp_path)

    def test_a_registry_that_is_missing(self, system):
        (system.directory / "registry.sqlite").unlink()
        with pytest.raises(StoreError, match="registry"):
            System.open(system.directory)

    def test_a_system_may_move(self, evolved, tmp_path):
        image = FilePath(evolved.task("one").source) / "test" / "red" / "0.png"
        before = evolved.predict("one", [image])
        moved = shutil.move(evolved.directory, tmp_path / "moved")
        with System.open(moved) as again:
            assert again.predict("one", [image]) == before
            assert again.verify().is_intact


class TestAddTask:
    def test_it_says_what_was_found(self, system, pictures, tmp_path):
        events = []
        task = system.add_task(
            "three", pictures(tmp_path / "pictures", seed=9), is_private=True, observer=events.append
        )
        assert task == system.task("three") == system.tasks()[-1]
        assert (task.name, task.classes, task.is_private) == ("three", ("blue", "green", "red"), True)
        assert (task.num_train, task.num_validation, task.num_test) == (48, 24, 24)
        assert (task.path_id, task.validation, task.reused, task.children) == (None, None, 0, 0)
        assert events[-1] == Preparing("decoding the images of three", 96, 96)

    def test_splits_may_come_from_elsewhere(self, system, pictures, tmp_path):
        folder = pictures(tmp_path / "pictures", seed=9)
        task = system.add_task(
            "three", folder / "train", validation=folder / "val", test=folder / "test" / ".." / "test"
        )
        assert (task.num_train, task.num_validation, task.num_test) == (48, 24, 24)

    def test_a_relative_path_means_the_same_from_any_folder(self, system, pictures, tmp_path, monkeypatch, small):
        pictures(tmp_path / "here" / "pictures", seed=9)
        monkeypatch.chdir(tmp_path / "here")
        system.add_task("three", "pictures")
        monkeypatch.chdir(tmp_path)
        with System.open(system.directory) as again:
            assert again.evolve("three", agent="linear", children=1, **small).path_id

    def test_a_name_that_is_taken(self, system):
        with pytest.raises(ConfigError, match="task 'one' exists already"):
            system.add_task("one", "nowhere")

    @pytest.mark.parametrize("name", ["", "One", "a/b", "..", "a b", "-x" * 100])
    def test_a_name_that_is_not_safe(self, system, name):
        with pytest.raises(ConfigError):
            system.add_task(name, "demo:digits")
        assert len(system.tasks()) == 2

    def test_images_that_do_not_decode(self, system, pictures, tmp_path):
        folder = pictures(tmp_path / "pictures", seed=9)
        (folder / "train" / "red" / "3.png").write_bytes(b"no image")
        with pytest.raises(ImageError, match=r"red/3\.png"):
            system.add_task("three", folder)
        assert len(system.tasks()) == 2
        assert system.add_task("three", folder, skip_bad_images=True).num_train == 47

    def test_sources_that_cannot_be_used(self, system, tmp_path):
        (tmp_path / "only" / "cat").mkdir(parents=True)
        with pytest.raises(SourceError):
            system.add_task("three", tmp_path / "nowhere")
        with pytest.raises(DataError):
            system.add_task("three", tmp_path / "only")
        with pytest.raises(UnknownNameError, match="did you mean 'demo:digits'"):
            system.add_task("three", "demo:digit")
        assert [task.name for task in system.tasks()] == ["one", "two"]


class TestNames:
    @pytest.mark.parametrize(
        "call",
        [
            lambda system: system.task("onee"),
            lambda system: system.path("onee"),
            lambda system: system.history("onee"),
            lambda system: system.predict("onee", []),
            lambda system: system.evaluate("onee"),
            lambda system: system.evolve("onee", children=1),
        ],
    )
    def test_an_unknown_task_is_named_with_the_closest_match(self, system, call):
        with pytest.raises(UnknownNameError, match="unknown task 'onee'; did you mean 'one'"):
            call(system)

    @pytest.mark.parametrize(
        "call",
        [
            lambda system: system.path("one"),
            lambda system: system.predict("one", []),
            lambda system: system.evaluate("one"),
        ],
    )
    def test_a_task_that_was_never_evolved_says_what_to_do(self, system, call):
        with pytest.raises(ConfigError, match="task 'one' has no path yet; run: mu2net evolve one"):
            call(system)

    def test_and_its_history_is_empty(self, system):
        assert system.history("one") == []


def test_private_knowledge_stays_private_after_reopening(system, small, pictures, tmp_path):
    system.add_task("secret", pictures(tmp_path / "pictures", seed=7), is_private=True)
    system.evolve("secret", agent="finetune", children=1, **small)
    own = {part.digest for part in system.path("secret").slots if part.trained_by == "secret"}
    for agent in ("mu2net", "munet", "mu2net-plus"):
        with System.open(system.directory) as again:
            again.evolve("one", agent=agent, children=6, **{**small, "generation_size": 6, "num_validations": 1})
            assert not own & {part.digest for part in again.path("one").slots}
    assert {child.parent_id.partition("/")[0] for child in system.history("one")} <= {"root", "one", "two"}
    assert system.task("secret").is_private


def test_a_closed_system_may_be_used_again(evolved):
    before = evolved.evaluate("one")
    evolved.close()
    assert evolved.evaluate("one") == before
