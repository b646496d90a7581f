"""Tasks that move between systems: the same path, the same provenance, the same rules."""

from __future__ import annotations

import errno
import shutil
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import update

from mu2net.core.path import Metrics
from mu2net.errors import ComponentError, ConfigError, PrivacyError, StoreError, UnknownNameError
from mu2net.store import transfer
from mu2net.store.collect import collect
from mu2net.store.provenance import provenance
from mu2net.store.reach import files_of
from mu2net.store.removal import plan_removal, remove_task, undo_removal
from mu2net.store.schema import ComponentRow, CycleRow, TaskRow
from mu2net.store.store import Store
from mu2net.store.transfer import export_system, import_task
from mu2net.store.verify import verify_files


@pytest.fixture
def empty(tmp_path, make_store):
    """Another system of the same root, without tasks."""
    return make_store(tmp_path / "other")


def names(store):
    return [task.name for task in store.tasks()]


def needed(store, *paths):
    with store.registry.reading() as session:
        return set(files_of(session, paths))


def told(found):
    """Provenance without the ids of paths, and without the root, which was put into every system anew."""
    return [
        (slot.slot, slot.digest, slot.sources, [replace(origin, path="") for origin in slot.origins])
        for slot in found.slots
        if slot.origins[0].task is not None
    ]


def test_a_task_moves_with_its_path_and_its_provenance(chain, empty):
    found = import_task(empty, chain, "c")
    assert (found.task, found.path, found.influence) == ("c", "c/0/0/0", ("a", "b", "c"))
    here, there = empty.live_path("c"), chain.live_path("c")
    assert here == there
    own = needed(chain, "c/0/0/0") - set(chain.root().digests)
    assert found.copied == len(own)
    assert found.kept == 0
    assert found.num_bytes == sum(chain.components.size(digest) for digest in own)
    assert set(empty.components.digests()) == set(empty.root().digests) | own, "what it descends from is not copied"
    for digest in here.digests:
        assert {name: part.tolist() for name, part in empty.load(digest).items()} == {
            name: part.tolist() for name, part in chain.load(digest).items()
        }
    assert empty.probe("c/0/0/0")[0]["logits"].tolist() == chain.probe("c/0/0/0")[0]["logits"].tolist()
    assert told(provenance(empty, "c")) == told(provenance(chain, "c"))
    assert provenance(empty, "c").elsewhere == ("a", "b")
    assert provenance(empty, "c").removed == ()
    assert names(empty) == ["c"]
    record, theirs = empty.task("c"), chain.task("c")
    assert replace(record, imported=None) == theirs
    assert record.imported["system"] == str(chain.directory)
    assert verify_files(empty) == []
    assert collect(empty, is_dry=False, grace=timedelta(0)).files == ()
    assert empty.events()[-1].kind == "task_imported"


def test_what_is_there_already_is_not_copied(chain, empty):
    first, second = import_task(empty, chain, "a"), import_task(empty, chain, "b")
    assert (first.kept, second.kept) == (0, 0)
    with pytest.raises(ConfigError, match=r"task 'a' exists already; import it under another name: --as NAME"):
        import_task(empty, chain, "a")
    again = import_task(empty, chain, "a", renamed={"a": "a2"})
    assert (again.copied, again.num_bytes, again.kept) == (0, 0, first.copied)
    assert again.influence == ("a2",)
    assert empty.live_path("a2").digests == chain.live_path("a").digests
    assert provenance(empty, "b").elsewhere == ()


def test_in_any_order_the_same_comes_of_it(chain, empty, tmp_path, make_store):
    backwards = make_store(tmp_path / "backwards")
    for name in "abcd":
        import_task(empty, chain, name)
    for name in "dcba":
        import_task(backwards, chain, name)
    for name in "abcd":
        assert told(provenance(empty, name)) == told(provenance(backwards, name)) == told(provenance(chain, name))
        assert empty.live_path(name) == backwards.live_path(name)
        assert backwards.child(f"{name}/0/0/0").state == "live"
    assert sorted(names(backwards)) == sorted(names(empty)) == ["a", "b", "c", "d"]
    assert verify_files(backwards) == []


def test_a_task_moves_through_several_systems(chain, empty, tmp_path, make_store):
    third = make_store(tmp_path / "third")
    import_task(empty, chain, "c")
    import_task(third, empty, "c")
    assert told(provenance(third, "c")) == told(provenance(chain, "c"))
    assert third.task("c").imported["system"] == str(empty.directory)
    import_task(third, chain, "b")
    assert provenance(third, "c").elsewhere == ("a",)
    assert third.child("b/0/0/0").state == "live"


def test_a_task_that_has_grown_here_too_keeps_both(chain, empty, learn):
    """``a`` of this system has a path of the same id and other components."""
    ours = learn(empty, "a", empty.root(), 90)
    with pytest.raises(ConfigError, match=r"task 'a' exists already"):
        import_task(empty, chain, "a")
    found = import_task(empty, chain, "b")
    assert found.influence == ("a", "b")
    assert empty.live_path("a") == ours
    theirs = empty.child("a/1/0/0")
    assert theirs.state == "retired"
    assert theirs.path.digests == chain.live_path("a").digests
    assert empty.live_path("b").parent_id == "a/1/0/0"
    assert empty.child("b/0/0/0").proposal.parent_id == "a/1/0/0"
    assert told(provenance(empty, "b")) == told(provenance(chain, "b"))


def test_names_that_mean_other_data_must_be_told_apart(chain, empty, make_task):
    empty.add_task(replace(make_task("a"), fingerprint="e" * 64))
    with pytest.raises(ConfigError, match=r"task 'a' has other data here than there .*--rename a=NAME"):
        import_task(empty, chain, "b")
    assert names(empty) == ["a"]
    found = import_task(empty, chain, "b", renamed={"a": "a-there"})
    assert found.influence == ("a-there", "b")
    assert provenance(empty, "b").elsewhere == ("a-there",)
    assert empty.live_path("b").parent_id == "a-there/0/0/0"
    with pytest.raises(ConfigError, match=r"no task 'x' to rename: what moves is 'd'"):
        import_task(empty, chain, "d", renamed={"x": "y"})
    with pytest.raises(ConfigError, match=r"two tasks would have the same name: \['z', 'z', 'z'\]"):
        import_task(empty, chain, "c", renamed=dict.fromkeys("abc", "z"))
    with pytest.raises(ConfigError, match=r"task name 'Big' is not safe"):
        import_task(empty, chain, "d", renamed={"d": "Big"})


def test_what_cannot_move_is_said(chain, empty, tmp_path, make_store):
    with pytest.raises(UnknownNameError, match="'e'"):
        import_task(empty, chain, "e")
    with pytest.raises(ConfigError, match=r"'digits' was never evolved, so there is nothing to move"):
        import_task(empty, chain, "digits")
    with pytest.raises(ConfigError, match="is this system itself"):
        import_task(chain, Store.open(chain.directory), "a")
    config = chain.config.model_copy(update={"backbone": {"kind": "other"}, "root": "strange"})
    foreign = make_store(tmp_path / "foreign", config=config)
    with pytest.raises(ConfigError, match=r"has another root \('tiny'; here it is 'strange'\)"):
        import_task(foreign, chain, "a")
    assert names(empty) == names(foreign) == []


def test_a_damaged_file_stops_it_and_nothing_is_changed(chain, empty):
    digest = chain.live_path("d").digests[-1]
    file = chain.components.file(digest)
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(ComponentError, match=digest):
        import_task(empty, chain, "d")
    assert names(empty) == []
    left = needed(chain, "d/0/0/0") - set(chain.root().digests)
    assert collect(empty, is_dry=False, grace=timedelta(0)).orphans == sum(copied < digest for copied in left)


def test_a_damaged_file_here_is_replaced(chain, empty):
    import_task(empty, chain, "a")
    digest = chain.live_path("a").digests[-1]
    file = empty.components.file(digest)
    file.chmod(0o644)
    file.write_bytes(b"broken")
    assert import_task(empty, chain, "a", renamed={"a": "a2"}).copied == 1
    assert verify_files(empty) == []


def test_private_tasks_stay_private(chain, empty, learn, make_child):
    secret = learn(chain, "secret", chain.live_path("a"), 80, is_private=True)
    import_task(empty, chain, "secret")
    assert empty.task("secret").is_private
    here = Store.open(empty.directory).live_path("secret")
    assert here.is_private
    assert here == secret
    empty.add_task(replace(chain.task("d"), name="e"))
    cycle = empty.start_cycle("e", "mu2net", 1, {})
    with pytest.raises(PrivacyError):
        empty.record_child(cycle, make_child(here, 81))
    import_task(empty, chain, "d", is_private=True)
    assert empty.task("d").is_private
    assert empty.live_path("d").is_private
    with pytest.raises(PrivacyError):
        empty.record_child(cycle, make_child(empty.live_path("d"), 82))


def test_whom_a_task_may_learn_from_comes_along(chain, empty, learn, make_child):
    learn(chain, "picky", chain.live_path("a"), 80, allow_from=("a",), deny_from=("d",))
    import_task(empty, chain, "picky")
    record = empty.task("picky")
    assert (record.allow_from, record.deny_from) == (("a",), ("d",))
    import_task(empty, chain, "d")
    cycle = empty.start_cycle("picky", "mu2net", 1, {})
    with pytest.raises(PrivacyError, match="'d', which task 'picky' may not use"):
        empty.record_child(cycle, make_child(empty.live_path("d"), 81))


def test_what_may_not_shape_it_here_is_refused(chain, empty, make_task):
    empty.add_task(replace(make_task("a"), is_private=True))
    with pytest.raises(PrivacyError, match=r"would be shaped by data of 'a'"):
        import_task(empty, chain, "b")
    assert names(empty) == ["a"]
    assert empty.live_paths() == []


def test_a_task_cannot_become_private_once_its_data_shaped_others(chain, empty, make_task):
    import_task(empty, chain, "b")
    for become in (
        lambda: import_task(empty, chain, "a", is_private=True),
        lambda: empty.add_task(replace(make_task("a"), is_private=True)),
    ):
        with pytest.raises(PrivacyError, match=r"'a' cannot be private here: its data shaped path 'b/0/0/0'"):
            become()
    assert names(empty) == ["b"]
    remove_task(empty, "b")
    import_task(empty, chain, "a", is_private=True)
    assert empty.live_path("a").is_private, "also what came before, as history"
    assert all(child.path.is_private for child in empty.children("a"))


def test_a_task_that_is_private_here_stays_so(chain, empty, learn):
    learn(chain, "shy", chain.root(), 80, deny_from=("d",))
    other = Store.open(shutil.copytree(chain.directory, chain.directory.with_name("again")))
    with other.registry.writing() as session:
        session.execute(update(TaskRow).where(TaskRow.name == "d").values(is_private=True))
    import_task(empty, other, "shy")
    import_task(empty, chain, "d")
    assert empty.task("d").is_private


def test_another_name_hides_nothing(chain, empty):
    """What is private, or was removed with its influence, is known by its data too."""
    import_task(empty, chain, "a", renamed={"a": "mine"}, is_private=True)
    with pytest.raises(PrivacyError, match=r"data of 'mine', .*'a' of the other system has the same data as 'mine'"):
        import_task(empty, chain, "b")
    remove_task(empty, "mine", with_influence=True)
    for renamed in ({}, {"a": "a-x"}):
        with pytest.raises(PrivacyError, match=r"'mine'"):
            import_task(empty, chain, "b", renamed=renamed)
    assert empty.live_paths() == []


def test_another_name_of_what_is_public_is_no_obstacle_until_it_is_removed_with_its_influence(chain, empty, make_task):
    empty.add_task(replace(make_task("a"), name="mine"))
    import_task(empty, chain, "b")
    assert set(names(empty)) == {"b", "mine"}
    remove_task(empty, "mine", with_influence=True)
    with pytest.raises(PrivacyError, match=r"'mine', which was removed .*'a' of the other system has the same data"):
        import_task(empty, chain, "c")


def test_what_was_removed_with_its_influence_cannot_be_added_again(chain, empty, make_task):
    import_task(empty, chain, "b")
    remove_task(empty, "a", with_influence=True)
    with pytest.raises(PrivacyError, match="'a', which was removed with all its influence"):
        empty.add_task(make_task("a"))
    undo_removal(empty)
    empty.add_task(make_task("a"))
    assert sorted(names(empty)) == ["a", "b"]


def test_nobody_learns_where_the_images_of_others_are(chain, empty):
    import_task(empty, chain, "c")
    with empty.registry.reading() as session:
        rows = {row.name: (row.source, row.counts) for row in session.query(TaskRow)}
    assert rows["a"] == rows["b"] == ({}, {})
    assert rows["c"][0] == chain.task("c").source


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE paths SET metrics = '[]' WHERE id = 'c/0/0/0'",
        """UPDATE paths SET metrics = '{"quality": 7.0, "flops": 1, "validations": []}' WHERE id = 'c/0/0/0'""",
        """UPDATE paths SET metrics = '{"quality": NaN, "flops": 1, "validations": []}' WHERE id = 'b/0/0/0'""",
        "UPDATE paths SET mutations = '[7]' WHERE id = 'a/0/0/0'",
        "UPDATE paths SET proposal = NULL WHERE id = 'a/0/0/0'",
        "UPDATE paths SET influence = '[\"c\"]' WHERE id = 'c/0/0/0'",
        'UPDATE paths SET influence = \'["a", "b", "c", "nobody"]\' WHERE id = \'c/0/0/0\'',
        "UPDATE paths SET parent_id = NULL WHERE id = 'b/0/0/0'",
        "UPDATE tasks SET classes = '7' WHERE name = 'c'",
        "UPDATE tasks SET counts = 'null' WHERE name = 'a'",
        "UPDATE tasks SET source = '[1]' WHERE name = 'c'",
        "UPDATE tasks SET deny_from = '[\"nobody\"]' WHERE name = 'c'",
        "UPDATE cycles SET config = '[1]' WHERE task = 'a'",
        "DELETE FROM probes WHERE path_id = 'c/0/0/0'",
    ],
)
def test_a_damaged_registry_brings_nothing_here(chain, empty, damage):
    with chain.registry.writing() as session:
        session.connection().exec_driver_sql(damage)
    with pytest.raises(StoreError, match=r"holds something that mu2net did not write"):
        import_task(empty, chain, "c")
    assert names(empty) == []
    assert verify_files(empty) == []


def test_names_of_others_are_checked_too(chain, empty):
    with chain.registry.writing() as session:
        session.connection().exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        for table, column in (
            ("tasks", "name"),
            ("paths", "task"),
            ("cycles", "task"),
            ("components", "task"),
            ("events", "task"),
        ):
            session.connection().exec_driver_sql(f"UPDATE {table} SET {column} = '../evil' WHERE {column} = 'd'")
        session.connection().exec_driver_sql("""UPDATE paths SET influence = '["../evil"]' WHERE id = 'd/0/0/0'""")
    with pytest.raises((ConfigError, StoreError), match=r"'../evil' is not safe"):
        import_task(empty, chain, "../evil")


def test_sizes_are_those_of_the_files(chain, empty):
    with chain.registry.writing() as session:
        session.execute(update(ComponentRow).values(num_bytes=1))
    import_task(empty, chain, "a")
    assert verify_files(empty) == []


def test_copies_that_diverged_in_a_cycle_can_be_brought_together(chain, tmp_path, learn, make_child):
    cycle = chain.start_cycle("a", "mu2net", 5, {"live": []})
    copy = Store.open(shutil.copytree(chain.directory, tmp_path / "copy"))
    ours = chain.record_child(cycle, make_child(chain.root(), 61))
    theirs = copy.record_child(cycle, make_child(copy.root(), 62))
    copy.publish(cycle, theirs.id, Metrics(0.9, 1, test=0.8), {}, {})
    learn(copy, "h", theirs, 63)
    assert import_task(chain, copy, "h").influence == ("a", "h")
    assert chain.live_path("h").parent_id == "a/2/0/0"
    assert chain.child("a/2/0/0").path.digests == theirs.digests
    assert chain.child(ours.id).path.digests == ours.digests
    assert chain.running_cycle("a").number == 1
    chain.record_child(cycle, make_child(chain.root(), 64, child=1))
    chain.publish(cycle, ours.id, Metrics(0.9, 1), {}, {})
    other = Store.open(shutil.copytree(chain.directory, tmp_path / "other"))
    assert import_task(other, copy, "a", renamed={"a": "a2"}).task == "a2"
    learn(copy, "i", copy.live_path("a"), 65)
    import_task(chain, copy, "i")
    assert chain.live_path("i").parent_id == "a/2/0/0", "it came before"
    assert verify_files(chain) == []


def test_a_path_that_is_replaced_meanwhile_is_not_taken(chain, empty, learn, monkeypatch):
    original, calls = chain.leases.reading, []

    def reading(paths):
        if not calls:
            learn(chain, "d", chain.live_path("d"), 71)
        calls.append(list(paths))
        return original(paths)

    monkeypatch.setattr(chain.leases, "reading", reading)
    import_task(empty, chain, "d")
    assert calls == [["d/0/0/0"], ["d/1/0/0"]]
    assert empty.live_path("d").digests == chain.live_path("d").digests


def test_nothing_comes_back_that_was_removed_with_its_influence(chain, empty):
    import_task(empty, chain, "a")
    remove_task(empty, "a", with_influence=True)
    with pytest.raises(PrivacyError, match="data of 'a', which was removed with all its influence"):
        import_task(empty, chain, "b")
    with pytest.raises(ConfigError, match="'a' exists already"):
        import_task(empty, chain, "a")
    assert empty.live_paths() == []


def test_the_influence_of_a_task_that_is_only_known_can_be_removed(chain, empty):
    for name in "cd":
        import_task(empty, chain, name)
    with pytest.raises(ConfigError, match=r"'a' is no task of this system: it only shaped what was imported from /"):
        remove_task(empty, "a")
    assert plan_removal(empty, "a", with_influence=True).paths == {"c": "c/0/0/0"}
    remove_task(empty, "a", with_influence=True)
    assert [path.task for path in empty.live_paths()] == ["d"]
    with pytest.raises(ConfigError, match="'a' is no task of this system"):
        remove_task(empty, "a", with_influence=True)
    undo_removal(empty)
    assert [path.task for path in empty.live_paths()] == ["c", "d"]
    assert names(empty) == ["c", "d"]
    assert provenance(empty, "c").elsewhere == ("a", "b")


def test_a_task_that_is_only_known_can_be_added(chain, empty, make_task, learn):
    import_task(empty, chain, "b")
    with pytest.raises(ConfigError, match=r"'a' is known here from what was imported, with other data"):
        empty.add_task(replace(make_task("a"), fingerprint="e" * 64))
    empty.add_task(replace(make_task("a"), deny_from=("b",)))
    assert sorted(names(empty)) == ["a", "b"]
    assert empty.task("a").deny_from == ("b",)
    assert provenance(empty, "b").elsewhere == ()
    assert learn(empty, "a", empty.root(), 70).id == "a/1/0/0", "the path from elsewhere keeps its name"


def test_the_path_of_a_running_cycle_is_history_elsewhere(chain, empty, make_child):
    """``e`` made, by chance, what ``a`` made, and is still evolving."""
    chain.add_task(replace(chain.task("a"), name="e"))
    cycle = chain.start_cycle("e", "mu2net", 1, {})
    chain.record_child(cycle, make_child(chain.root(), 11))
    found = import_task(empty, chain, "a")
    assert found.influence == ("a",)
    assert [origin.task for origin in provenance(empty, "a").slots[2].origins] == ["a", "e"]
    (there,) = empty.children("a")
    assert there.state == "live"
    with empty.registry.reading() as session:
        states = {row.task: (row.state, row.ended_at is not None) for row in session.query(CycleRow)}
    assert states == {"a": ("published", True), "e": ("abandoned", True)}


def test_files_that_are_collected_meanwhile_are_copied_again(chain, empty, monkeypatch):
    original, calls = transfer._copy, []

    def copy(store, other, digests):
        found = original(store, other, digests)
        calls.append(len(found))
        if len(calls) == 1:
            collect(store, is_dry=False, grace=timedelta(0))
        return found

    monkeypatch.setattr(transfer, "_copy", copy)
    found = import_task(empty, chain, "a")
    assert calls == [found.copied, found.copied]
    assert verify_files(empty) == []


def test_parameters_that_were_collected_here_come_back(chain, empty):
    import_task(empty, chain, "a")
    remove_task(empty, "a")
    collect(empty, is_dry=False, grace=timedelta(0))
    found = import_task(empty, chain, "a", renamed={"a": "again"})
    assert found.copied > 0
    assert verify_files(empty) == []
    assert empty.live_path("again").digests == chain.live_path("a").digests


def test_the_other_system_collects_nothing_that_is_being_copied(chain, empty, monkeypatch):
    original = transfer._copy

    def copy(store, other, digests):
        remove_task(chain, "d")
        collect(chain, is_dry=False, grace=timedelta(0))
        return original(store, other, digests)

    monkeypatch.setattr(transfer, "_copy", copy)
    import_task(empty, chain, "d")
    assert verify_files(empty) == []


def test_an_imported_task_goes_on_learning(chain, empty, learn):
    import_task(empty, chain, "c")
    newer = learn(empty, "c", empty.live_path("c"), 77)
    assert newer.id == "c/1/0/0"
    assert newer.influence == {"a", "b", "c"}
    assert empty.child("c/0/0/0").state == "retired"
    assert learn(empty, "f", newer, 78).influence == {"a", "b", "c", "f"}


def test_a_new_system_has_the_public_tasks(chain, tmp_path, learn):
    learn(chain, "secret", chain.root(), 80, is_private=True)
    found = export_system(chain, tmp_path / "new")
    assert [one.task for one in found] == ["a", "b", "c", "d"]
    new = Store.open(tmp_path / "new")
    assert new.root() == chain.root()
    assert new.config.backbone == chain.config.backbone
    assert new.live_paths() == [path for path in chain.live_paths() if path.task != "secret"]
    assert verify_files(new) == []
    assert not list(tmp_path.glob(".new*"))
    with pytest.raises(ConfigError, match="exists already; name a new folder"):
        export_system(chain, tmp_path / "new")
    (only,) = export_system(chain, tmp_path / "alone", ["secret"])
    assert (only.task, Store.open(tmp_path / "alone").task("secret").is_private) == ("secret", True)
    learn(new, "g", new.live_path("c"), 99)
    assert import_task(chain, new, "g").influence == ("a", "b", "c", "g")
    assert chain.live_path("g").parent_id == "c/0/0/0", "the path that it came from"
    assert verify_files(chain) == []


def test_a_new_system_does_not_know_of_private_tasks_that_rules_name(chain, tmp_path, learn):
    """Not even by name, classes or fingerprint; a task whose data shaped a path stays known."""
    learn(chain, "patients", chain.root(), 80, is_private=True)
    learn(chain, "birds", chain.live_path("a"), 81, deny_from=("patients", "d"), allow_from=("a", "patients"))
    export_system(chain, tmp_path / "new", ["birds"])
    new = Store.open(tmp_path / "new")
    record = new.task("birds")
    assert (record.deny_from, record.allow_from) == (("d",), ("a",))
    assert b"patients" not in (tmp_path / "new" / "registry.sqlite").read_bytes()
    assert new.live_path("birds").influence == chain.live_path("birds").influence == {"a", "birds"}
    export_system(chain, tmp_path / "both", ["birds", "patients"])
    assert Store.open(tmp_path / "both").task("birds").deny_from == ("d", "patients")


def test_an_export_that_fails_leaves_no_system(chain, tmp_path):
    mine = tmp_path / "new.unfinished"
    mine.mkdir()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UnknownNameError):
        export_system(chain, tmp_path / "new", ["a", "nobody"])
    assert sorted(tmp_path.iterdir()) == before, "nothing is left, and nothing of others is gone"
    (one,) = export_system(chain, tmp_path / "new", ["a"])
    assert names(Store.open(tmp_path / "new")) == [one.task] == ["a"]


def test_an_export_whose_folder_cannot_be_made_says_so(chain, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Store, "create", fail)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(StoreError, match="No space left on device"):
        export_system(chain, tmp_path / "new")
    assert sorted(tmp_path.iterdir()) == before


def test_there_must_be_something_to_export(store, tmp_path):
    with pytest.raises(ConfigError, match="no public task that was evolved"):
        export_system(store, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_second_publication_moves(chain, empty, learn):
    learn(chain, "a", chain.live_path("a"), 33)
    found = import_task(empty, chain, "a")
    assert found.path == "a/1/0/0" or empty.live_path("a").digests == chain.live_path("a").digests
    assert empty.live_path("a").digests == chain.live_path("a").digests
    assert len(empty.children("a")) == 2
    assert Metrics(0.9, 1, test=0.8) == empty.live_path("a").metrics


def test_a_copy_of_the_system_recognises_its_own_paths(chain, tmp_path, learn):
    shutil.copytree(chain.directory, tmp_path / "copy")
    copy = Store.open(tmp_path / "copy")
    learn(copy, "h", copy.live_path("c"), 44)
    found = import_task(chain, copy, "h")
    assert found.path == "h/0/0/0"
    assert chain.live_path("h").parent_id == "c/0/0/0"
    assert len(chain.children("c")) == 1
