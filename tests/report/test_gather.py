"""What the pictures show is what the system holds."""

from __future__ import annotations

import json

import pytest

from mu2net.core.path import Path
from mu2net.report.data import ChildFacts, MutationFacts, Report
from mu2net.report.figures import best_so_far
from mu2net.report.gather import _Components, gather
from mu2net.report.intervals import student_quantile, wilson
from mu2net.report.quality_facts import QualityFacts
from mu2net.report.searches import mutation_effects
from mu2net.store.store import Store
from mu2net.store.transfer import import_task
from mu2net.system.overview import summarize_tasks
from tests.report.grow import DEPTH, grow


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Six tasks, of which the first is private."""
    return grow(tmp_path_factory.mktemp("grown") / "system", 6, private=1)


@pytest.fixture(scope="module")
def report(store):
    return gather(store)


def test_the_leaderboard_says_what_the_system_says(store, report):
    for task, row in zip(report.tasks, summarize_tasks(store), strict=True):
        assert (task.name, task.path, task.agent) == (row.name, row.path_id, row.agent)
        assert (task.test.value, task.validation.value) == (row.test, row.validation)
        assert (task.added_params, task.accounted_params) == (row.added_params, row.accounted_params)
        assert (task.num_params, task.flops, task.seconds) == (row.num_params, row.flops, row.seconds)
        assert (task.children, task.num_train, task.is_private) == (row.children, row.num_train, row.is_private)
        others = {owner: share for owner, share in task.reuse.items() if owner != task.name}
        assert others == pytest.approx(row.reused_from)
        assert sum(task.reuse.values()) == pytest.approx(1.0)
        assert task.test.low < task.test.value < task.test.high


def test_components_are_those_of_the_paths(store, report):
    assert report.slots == (
        "patch_embed",
        "tokens",
        *(f"block_{number:02d}" for number in range(DEPTH)),
        "norm",
        "head",
    )
    for task in report.tasks:
        path = store.live_path(task.name)
        shown = [report.components[index] for index in task.components]
        assert [component.digest for component in shown] == list(path.digests)
        assert [component.trained_by for component in shown] == [part.task or "root" for part in path.components]
        assert [component.slot for component in shown] == [part.slot.name for part in path.components]
        assert task.influence == tuple(sorted(path.influence))
    assert [report.components[index].digest for index in report.root] == list(store.root().digests)
    shown = {component.digest: number for number, component in enumerate(report.components)}
    for component in report.components:
        assert component.source == nearest_shown(store, component.digest, shown)
        assert component.is_private == (component.trained_by == "task000")


def nearest_shown(store, digest, shown):
    """The number of the nearest ancestor that is shown, one step after the other."""
    while (digest := store.component_records([digest])[digest].source_digest) is not None:
        if digest in shown:
            return shown[digest]
    return None


def test_a_clone_of_what_is_not_shown_names_the_ancestor_that_is(store, report):
    """A path's components come from children that were never published as often as from published ones."""
    everything = [record.path for task in store.tasks() for record in store.children(task.name)]
    digests = {component.digest for path in everything for component in path.components}
    shown = [component.digest for component in report.components]
    parts = _Components(store, [store.root()], ())
    hidden = [digest for digest in digests if digest not in store.root().digests]
    assert len(hidden) > len(shown) / 2
    found = parts._sources(hidden)
    root = {digest: number for number, digest in enumerate(store.root().digests)}
    assert found == {digest: nearest_shown(store, digest, root) for digest in hidden}
    assert any(number is not None for number in found.values())


def test_growth_adds_up(store, report):
    assert [step.task for step in report.growth] == [task.name for task in report.tasks]
    assert [step.live_tasks for step in report.growth] == [1, 2, 3, 4, 5, 6]
    last = report.growth[-1]
    paths = [store.root(), *store.live_paths()]
    unique = {part.digest: part.num_params for path in paths for part in path.components}
    assert last.total_params == report.system.total_params == sum(unique.values())
    assert all(
        one.total_params < other.total_params for one, other in zip(report.growth, report.growth[1:], strict=False)
    )
    sizes = store.components.sizes()
    assert last.total_bytes == report.system.live_bytes == sum(sizes[digest] for digest in unique)
    assert report.system.disk_bytes == sum(sizes.values()) > report.system.live_bytes
    assert sum(step.seconds for step in report.growth) == report.system.seconds == 6 * 4 * 2.5


def test_sharing_counts_parameters(store, report):
    for user, row in zip(report.sharing.users, report.sharing.params, strict=True):
        path = store.live_path(user)
        for owner, params in zip(report.sharing.owners, row, strict=True):
            assert params == sum(part.num_params for part in path.components if (part.task or "root") == owner)
    assert report.sharing.owners[0] == "root"


def test_a_search_has_every_child(store, report):
    for search in report.searches:
        records = store.children(search.task)
        assert [child.id for child in search.children] == [record.path.id for record in records]
        assert [child.end for child in search.children] == [2.5, 5.0, 7.5, 10.0]
        assert [child.is_live for child in search.children] == [False, False, False, True]
        assert search.lineage[-1] == store.live_path(search.task).id
        known = {child.id: child for child in search.children}
        for child in search.children:
            parent = known.get(child.parent)
            assert child.change == (None if parent is None else child.quality - parent.quality)
            assert child.trained_params in (1_010, 2_010)
        for one, other in zip(search.lineage, search.lineage[1:], strict=False):
            assert known[other].parent == one


def test_the_last_search_can_be_replayed(store, report):
    """Every child's components are named: those of published paths by the report's numbers, others by further ones."""
    replay, count = report.replay, len(report.components)
    assert (replay.task, replay.cycle, replay.step) == ("task005", 0, 5)
    known = [*report.components, *replay.components]
    records = store.children("task005")
    assert [child.id for child in replay.children] == [record.path.id for record in records]
    for child, record in zip(replay.children, records, strict=True):
        assert [known[index].digest for index in child.components] == list(record.path.digests)
        assert (child.quality, child.is_kept) == (record.path.quality, record.is_kept)
    published = {component.digest for component in report.components}
    assert not published & {component.digest for component in replay.components}
    assert all(component.trained_by == "task005" for component in replay.components)
    live = next(child for child in replay.children if child.id == report.tasks[-1].path)
    assert max(live.components) < count


def test_private_tasks_can_be_left_out(store):
    report = gather(store, with_private=False)
    assert "task000" not in report.model_dump_json()
    assert [task.name for task in report.tasks] == [f"task{number:03d}" for number in range(1, 6)]
    sizes, paths = store.components.sizes(), [store.root(), *(store.live_path(task.name) for task in report.tasks)]
    assert report.system.live_bytes == sum(sizes[digest] for digest in {one for path in paths for one in path.digests})
    assert report.system.disk_bytes is None, "it would tell of private tasks"


def test_a_system_without_tasks(tmp_path):
    report = gather(grow(tmp_path / "system", 0))
    assert (report.tasks, report.growth, report.searches, report.sharing.users) == ((), (), (), ())
    assert report.system.total_params == report.system.root_params == 1_000 * (DEPTH + 3)


def test_a_task_without_a_path(store, tmp_path):
    other = grow(tmp_path / "system", 1)
    other.add_task(store.task("task003"))
    task = gather(other).tasks[1]
    assert (task.path, task.test, task.validation, task.components, task.reuse) == (None, None, None, (), {})


def test_a_second_cycle_goes_on_where_the_first_one_ended(tmp_path):
    store = grow(tmp_path / "system", 1, again=1)
    search = gather(store).searches[0]
    assert [child.cycle for child in search.children] == [0] * 4 + [1] * 4
    assert [child.end for child in search.children] == [2.5 * number for number in range(1, 9)]
    assert [child.id for child in search.children if child.is_live] == [search.lineage[-1]] == ["task000/1/1/1"]
    known = {child.id: child for child in search.children}
    for child in search.children:
        assert child.parent not in known or known[child.parent].end < child.end, "lines run forwards"
    assert gather(store).system.seconds == search.children[-1].end


def test_the_score_is_what_the_cycle_chose_by(tmp_path):
    """Quality times 0.9 per copy of the root that is accounted for; what others share counts in parts."""
    store = grow(tmp_path / "system", 3, search={"s_size": 0.9})
    report = gather(store)
    live: dict[str, Path] = {}
    for search, task in zip(report.searches, report.tasks, strict=True):
        for child, record in zip(search.children, store.children(task.name), strict=True):
            accounted = sum(
                part.num_params / (1 + sum(part.digest in path.digests for path in live.values()))
                for part in record.path.components
            )
            assert child.accounted_params == pytest.approx(accounted)
            assert child.score == pytest.approx(child.quality * 0.9 ** (accounted / report.system.root_params))
        live[task.name] = store.live_path(task.name)
    assert report.searches[2].children[0].accounted_params < report.searches[0].children[0].accounted_params


def test_the_replay_ends_with_the_path_that_is_live(tmp_path):
    """The score decides, which here weighs size against quality, and what was live before counts."""
    report = gather(grow(tmp_path / "system", 4, again=1, search={"s_size": 0.5}))
    by_id = {child.id: child for child in report.searches[-1].children}
    assert [child.score for child in report.replay.children] == [by_id[one.id].score for one in report.replay.children]
    before = by_id["task003/0/1/1"]
    assert report.replay.before == pytest.approx(before.score)
    best = best_so_far(report, 2)
    kept = [child for child in report.replay.children if child.score >= report.replay.before]
    assert best == max(reversed(kept), key=lambda child: child.score, default=None)
    assert best is None or best.id == report.tasks[-1].path
    first = report.replay.children[0]
    ties = tuple(child.model_copy(update={"score": 1.0}) for child in report.replay.children)
    tied = report.model_copy(update={"replay": report.replay.model_copy(update={"children": ties})})
    assert best_so_far(tied, 2) == ties[-1] != first, "the newest of equal ones"
    assert best_so_far(tied.model_copy(update={"replay": tied.replay.model_copy(update={"before": 2.0})}), 2) is None


def test_what_is_shown_in_public_counts_public_tasks_alone(tmp_path):
    report = gather(grow(tmp_path / "system", 6, private=3), with_private=False)
    last = report.tasks[-1]
    (live,) = (child for child in report.searches[-1].children if child.is_live)
    assert live.accounted_params == pytest.approx(last.accounted_params), "nobody came after it"


def test_what_nobody_looked_at_is_said(store, report):
    assert [quality.task for quality in report.quality] == [task.name for task in report.tasks]
    assert all("nobody looked at what" in quality.problem for quality in report.quality)
    known = QualityFacts(task="task001", images=1, accuracy=1.0)
    some = gather(store, measure=lambda path: known if path.task == "task001" else None)
    assert [quality.problem for quality in some.quality if quality.task == "task001"] == [""]


def test_owners_come_in_the_order_of_their_tasks(store, report):
    assert [owner.name for owner in report.owners] == ["root", *(task.name for task in report.tasks)]
    shown = {component.trained_by for component in report.components}
    assert shown <= {owner.name for owner in report.owners}


def test_an_imported_task_is_a_step_too(store, tmp_path):
    other = grow(tmp_path / "system", 0)
    import_task(other, store, "task002")
    report = gather(other)
    assert [step.task for step in report.growth] == ["task002"]
    assert {component.trained_by for component in report.components} >= {"root", "task002"}


def test_it_is_json_and_comes_back(report):
    text = report.model_dump_json()
    assert Report.model_validate_json(text) == report
    assert json.loads(text)["format_version"] == 2


def test_the_interval_is_that_of_wilson():
    """81 of 263 in Newcombe 1998, "Two-sided confidence intervals", method 3."""
    found = wilson(81 / 263, 263)
    assert (found.low, found.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0.5, 0) is None
    assert (wilson(0.0, 10).low, wilson(1.0, 10).high) == pytest.approx((0.0, 1.0))
    assert 0.0 <= wilson(0.0, 10).low <= wilson(1.0, 10).high <= 1.0


def child(change, *names, is_forced=False):
    mutations = tuple(MutationFacts(name=name, before=None, after=None, is_forced=is_forced) for name in names)
    return ChildFacts(
        id="t/0/0/0",
        cycle=0,
        generation=0,
        parent="t/0/0/0",
        quality=0.5,
        score=0.5,
        change=change,
        validations=(),
        end=0.0,
        seconds=0.0,
        trained_params=0,
        accounted_params=0.0,
        flops=0,
        num_params=0,
        is_kept=True,
        is_live=False,
        mutations=mutations,
        hparams={},
    )


def test_effects_are_means_with_their_intervals():
    children = [
        child(0.1, "clone:block_00", "clone:block_01", "hp:mu"),
        child(0.3, "clone:norm"),
        child(0.5, "clone:norm", "hp:mu"),
        child(-0.2, "hp:mu", "hp:opt_lr"),
        child(None, "clone:norm"),
        child(0.9, "clone:head", is_forced=True),
    ]
    clone, mu = mutation_effects(children)
    assert (clone.kind, clone.count, clone.mean) == ("clone", 3, pytest.approx(0.3))
    assert clone.high - clone.mean == pytest.approx(4.303 * 0.2 / 3**0.5, rel=0.01)
    assert clone.mean - clone.low == pytest.approx(clone.high - clone.mean)
    assert (mu.kind, mu.count, mu.mean) == ("hp:mu", 3, pytest.approx(0.4 / 3))


@pytest.mark.parametrize(("degrees", "expected"), [(2, 4.303), (3, 3.182), (5, 2.571), (10, 2.228), (1000, 1.962)])
def test_students_quantiles_are_those_of_the_tables(degrees, expected):
    assert student_quantile(degrees) == pytest.approx(expected, rel=0.01)


def test_a_copy_of_the_system_reports_the_same(store, report):
    again = gather(Store.open(store.directory))
    assert again.model_copy(update={"made_at": report.made_at}) == report
