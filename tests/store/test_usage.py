from __future__ import annotations

import torch

from mu2net.store.reach import files_of
from mu2net.store.usage import usage


def of(store, *paths):
    with store.registry.reading() as session:
        return files_of(session, paths)


def test_usage_counts_every_file_once(grown, learn):
    learn(grown, "letters", grown.live_path("digits"), 30)
    orphan = grown.components.put({"weight": torch.ones(9)})
    found = usage(grown)
    assert [row.task for row in found.tasks] == [None, "digits", "letters"]
    everything = sum(grown.components.size(digest) for digest in grown.components.digests())
    assert found.live + found.history + found.orphans == everything
    assert found.orphans == grown.components.size(orphan)
    for row in found.tasks[1:]:
        path = grown.live_path(row.task)
        assert row.own + row.shared == sum(grown.components.size(digest) for digest in of(grown, path.id))
    assert found.history > 0
