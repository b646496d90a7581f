from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mu2net.store.collect import compact_history
from mu2net.store.reach import files_of, kept_paths, named_files


@pytest.fixture
def kept(grown):
    """Returns the kept paths for a moment since which everything stays, relative to now, and for leased paths."""

    def run(since=None, leased=()):
        with grown.registry.reading() as session:
            return kept_paths(session, None if since is None else datetime.now(UTC) + since, leased)

    return run


def test_without_a_grace_period_only_what_is_live_stays(kept):
    assert kept() == {"root", "digits/1/0/0"}
    assert kept(leased=["digits/0/0/0"]) == {"root", "digits/1/0/0", "digits/0/0/0"}


def test_the_grace_period_counts_from_retirement_and_from_the_end_of_the_cycle(kept, grown):
    everything = {"root", "digits/0/0/0", "digits/1/0/0", "digits/1/0/1"}
    assert kept(-timedelta(minutes=10)) == everything
    assert kept(timedelta(minutes=10)) == {"root", "digits/1/0/0"}
    compact_history(grown)
    assert kept(-timedelta(minutes=10)) == everything - {"digits/1/0/1"}


def test_a_running_cycle_keeps_its_children_and_its_start(kept, grown, make_child):
    cycle = grown.start_cycle("digits", "mu2net", 3, {"live": ["digits/0/0/0"]})
    child = grown.record_child(cycle, make_child(grown.root(), 30))
    assert kept() == {"root", "digits/1/0/0", "digits/0/0/0", child.id}
    grown.abandon_cycle(cycle)
    assert kept() == {"root", "digits/1/0/0"}


def test_files_are_components_momentum_and_probes(grown):
    with grown.registry.reading() as session:
        found, named = files_of(session, ["digits/1/0/0"]), named_files(session)
        assert files_of(session, []) == set()
    path = grown.live_path("digits")
    momentum = grown.component(path.digests[2]).momentum_digest
    assert found == {*path.digests, momentum, grown.probe_record(path.id)[0]}
    assert found < named == set(grown.components.digests())
