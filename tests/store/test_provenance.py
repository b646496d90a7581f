from __future__ import annotations

from dataclasses import replace

import pytest

from mu2net.core.path import Metrics
from mu2net.core.proposal import SlotPlan
from mu2net.errors import ConfigError, PrivacyError, UnknownNameError
from mu2net.store.provenance import provenance


def test_influence_goes_through_clones_of_clones(chain):
    influence = {path.task: path.influence for path in chain.live_paths()}
    assert influence == {"a": {"a"}, "b": {"a", "b"}, "c": {"a", "b", "c"}, "d": {"d"}}
    assert chain.root().influence == frozenset()


def test_every_component_is_traced_to_the_root(chain):
    found = provenance(chain, "c")
    assert (found.task, found.path, found.influence, found.removed) == ("c", "c/0/0/0", ("a", "b", "c"), ())
    slots = {slot.slot: slot for slot in found.slots}
    assert list(slots) == ["stem", "block_00", "norm", "head"]
    (stem,) = slots["stem"].origins
    assert (stem.path, stem.task, stem.agent, stem.source, stem.influence) == ("root", None, "", None, ())
    (norm,) = slots["norm"].origins
    assert (norm.path, norm.task, norm.agent, norm.mutation) == ("c/0/0/0", "c", "mu2net", "clone:norm")
    assert norm.version
    norms = [chain.live_path(name).digests[2] for name in "ba"] + [chain.root().digests[2]]
    assert slots["norm"].sources == tuple(norms)
    assert slots["head"].sources == ()
    assert slots["head"].origins[0].influence == ("a", "b", "c")


def test_what_was_trained_on_top_of_a_task_was_shaped_by_it(chain, make_child, learn):
    """``e`` takes the norm that ``b`` trained above the root's block, and nothing that ``a`` trained."""
    root, b = chain.root(), chain.live_path("b")
    record = make_child(root, 50)
    plans = [replace(plan, digest=b.digests[2]) if plan.slot.name == "norm" else plan for plan in record.proposal.slots]
    components = [
        replace(part, source_digest=b.digests[2]) if part.source_digest else part for part in record.components
    ]
    record = replace(record, proposal=replace(record.proposal, slots=tuple(plans)), components=tuple(components))
    learn(chain, "e", root, 51)
    cycle = chain.start_cycle("e", "mu2net", 1, {})
    assert chain.record_child(cycle, record).influence == {"a", "b", "e"}


def test_inherited_hyperparameters_count(chain, make_child, learn):
    """A child of ``c`` that takes everything from the root is still one that ``c``'s search shaped."""
    learn(chain, "e", chain.root(), 51)
    cycle = chain.start_cycle("e", "mu2net", 1, {})
    record = make_child(chain.root(), 60)
    record = replace(record, proposal=replace(record.proposal, parent_id="c/0/0/0"))
    assert chain.record_child(cycle, record).influence == {"a", "b", "c", "e"}


def test_equal_components_count_for_all_who_made_them(chain, learn, make_child):
    """``e`` trains, by chance, what ``a`` trained: whoever uses it later has both in its influence."""
    chain.add_task(replace(chain.task("a"), name="e", created_at=None))
    cycle = chain.start_cycle("e", "mu2net", 1, {})
    same = chain.record_child(cycle, make_child(chain.root(), 11))
    assert same.digests == chain.live_path("a").digests
    chain.publish(cycle, same.id, Metrics(0.9, 1), {}, {})
    slots = {slot.slot: slot for slot in provenance(chain, "e").slots}
    assert [origin.path for origin in slots["norm"].origins] == ["a/0/0/0", "e/0/0/0"]
    assert learn(chain, "f", same, 70).influence == {"a", "e", "f"}


def test_what_equals_a_component_of_the_root_needs_nobodys_data(chain, make_child, learn):
    """Seed 2 gives the norm of the root again: a step that changed nothing."""
    chain.add_task(replace(chain.task("a"), name="e", created_at=None))
    cycle = chain.start_cycle("e", "mu2net", 1, {})
    same = chain.record_child(cycle, make_child(chain.root(), 2))
    assert same.digests[2] == chain.root().digests[2]
    assert learn(chain, "f", chain.root(), 71).influence == {"f"}


def test_there_is_nothing_to_trace_before_the_first_path(store):
    with pytest.raises(ConfigError, match="never evolved"):
        provenance(store, "digits")
    with pytest.raises(UnknownNameError):
        provenance(store, "digit")


class TestCompartments:
    def test_the_store_refuses_a_child_that_breaks_the_rules(self, chain, make_child, make_task):
        """Whatever the agent did: rules speak of influence, not of parents alone."""
        for name, rule in (
            ("shy", {"deny_from": ("a",)}),
            ("picky", {"allow_from": ("c", "b")}),
        ):
            chain.add_task(replace(make_task(name), **rule))
            cycle = chain.start_cycle(name, "mu2net", 1, {})
            for parent in "bc":
                with pytest.raises(
                    PrivacyError, match=rf"data of 'a', which task '{name}' may not use \(not allowed\)"
                ):
                    chain.record_child(cycle, make_child(chain.live_path(parent), 80))
            assert chain.history(name) == []
            assert chain.record_child(cycle, make_child(chain.root(), 81)).influence == {name}

    def test_private_data_stays_private_through_clones(self, chain, learn, make_child):
        secret = learn(chain, "secret", chain.live_path("a"), 90, is_private=True)
        again = chain.start_cycle("secret", "mu2net", 2, {})
        assert chain.record_child(again, make_child(secret, 91)).influence == {"a", "secret"}
        cycle = chain.start_cycle("d", "mu2net", 2, {})
        record = make_child(chain.root(), 92)
        stolen = [
            SlotPlan(plan.slot, "share", secret.digests[2]) if plan.slot.name == "norm" else plan
            for plan in record.proposal.slots
        ]
        head = tuple(part for part in record.components if part.slot.name == "head")
        proposal = replace(record.proposal, slots=tuple(stolen))
        with pytest.raises(PrivacyError, match=r"data of 'secret', which task 'd' may not use \(private\)"):
            chain.record_child(cycle, replace(record, proposal=proposal, components=head))

    def test_rules_name_tasks_that_exist(self, store, make_task):
        for rule in ({"allow_from": ("digit",)}, {"deny_from": ("digit",)}):
            with pytest.raises(UnknownNameError, match="did you mean 'digits'"):
                store.add_task(replace(make_task("x"), **rule))
        assert [task.name for task in store.tasks()] == ["digits"]

    def test_rules_are_read_back(self, store, make_task):
        task = store.add_task(replace(make_task("x"), allow_from=("digits",), deny_from=("digits", "digits")))
        assert (task.allow_from, task.deny_from) == (("digits",), ("digits",))
        assert store.task("digits").allow_from is None


def test_a_system_of_the_first_revision_learns_who_shaped_what(chain, tmp_path):
    """The migration walks the recorded paths; what it finds is what the store would have written."""
    from alembic import command

    from mu2net.store.migrate import alembic_config, migrate

    expected = {path.id: path.influence for path in chain.ancestors().values()}
    traced = [provenance(chain, name) for name in "abcd"]
    config = alembic_config()
    with chain.registry.connection() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
    migrate(chain.registry)
    assert {path.id: path.influence for path in chain.ancestors().values()} == expected
    for before, name in zip(traced, "abcd", strict=True):
        after = provenance(chain, name)
        assert [[origin.path for origin in slot.origins] for slot in after.slots] == [
            [origin.path for origin in slot.origins] for slot in before.slots
        ]
        assert [slot.sources for slot in after.slots] == [slot.sources for slot in before.slots]
