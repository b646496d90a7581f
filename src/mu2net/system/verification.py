"""Proves that nothing was forgotten: digests and probes of every live path."""

from __future__ import annotations

from mu2net.core.path import Path
from mu2net.errors import StoreError
from mu2net.nn.backbone import Backbone
from mu2net.nn.precision import choose_device
from mu2net.search.arithmetic import path_compute
from mu2net.search.events import Observer, Preparing
from mu2net.search.probe import PROBE_TOLERANCE, check_probe
from mu2net.search.publication import load_chain
from mu2net.store.store import Store
from mu2net.store.verify import Depth, check_files, damaged_files
from mu2net.system.summary import ProbeSummary, Verification


def verify_system(
    store: Store, backbone: Backbone, observer: Observer, depth: Depth = "full", share: float = 0.05
) -> Verification:
    """Hash every file again, and compute every probe again.

    Args:
        store: The system.
        backbone: What slots compute.
        observer: Told about progress.
        depth: How much of the files is read; probes are computed in full depth alone.
        share: Share of the bytes that a sample reads.
    """
    live = store.live_paths()
    observer(Preparing("hashing components", 0, 1))
    report = check_files(store, depth, share)
    damages = tuple(
        finding.message + (f" (used by: {', '.join(finding.tasks)})" if finding.tasks else "")
        for finding in report.findings
    )
    probes = []
    for done, path in enumerate(live if depth == "full" else ()):
        observer(Preparing("computing probes", done, len(live)))
        probes.append(_check(store, backbone, path))
    return Verification(
        num_components=report.num_files,
        num_bytes=report.num_bytes,
        damages=damages,
        probes=tuple(probes),
        depth=depth,
        damaged_files=tuple(damaged_files(report.findings)),
    )


def _check(store: Store, backbone: Backbone, path: Path) -> ProbeSummary:
    task = path.task or ""
    device = choose_device()
    try:
        tensors, environment = store.probe(path.id)
        chain = load_chain(store, backbone, path, device)
    except StoreError as error:
        return ProbeSummary(task, path.id, "not run", 0, float("nan"), str(error))
    result = check_probe(chain, tensors, environment, path_compute(backbone, path, device))
    if result.is_bit_equal:
        return ProbeSummary(task, path.id, "bit-equal", result.num_logits, 0.0)
    if result.is_bit_equal is None and result.max_difference <= PROBE_TOLERANCE:
        return ProbeSummary(task, path.id, "within 1e-5", result.num_logits, result.max_difference, result.reason)
    return ProbeSummary(task, path.id, "changed", result.num_logits, result.max_difference, result.reason)
