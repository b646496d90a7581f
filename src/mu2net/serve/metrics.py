"""What a server counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from mu2net.serve.batching import Batch

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The metrics of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "mu2net_requests", "Requests by route and status", ["method", "route", "status"], registry=self.registry
        )
        self.errors = Counter("mu2net_errors", "Requests that the server failed", ["route"], registry=self.registry)
        self.seconds = Histogram(
            "mu2net_request_seconds", "Time of a request", ["route"], buckets=_SECONDS, registry=self.registry
        )
        self.batch_images = Histogram(
            "mu2net_batch_images", "Images per batch", buckets=_IMAGES, registry=self.registry
        )
        self.batch_requests = Histogram(
            "mu2net_batch_requests", "Requests per batch", buckets=_IMAGES, registry=self.registry
        )
        self.batch_seconds = Histogram(
            "mu2net_batch_seconds", "Time of a batch in the network", buckets=_SECONDS, registry=self.registry
        )
        self.slots_asked = Counter(
            "mu2net_slots_asked", "Slots times images of all paths, each by itself", registry=self.registry
        )
        self.slots_computed = Counter("mu2net_slots_computed", "Slots times images that ran", registry=self.registry)
        self.ties = Counter("mu2net_ties_settled", "Near ties that a path by itself settled", registry=self.registry)
        self.watch_errors = Counter("mu2net_watch_errors", "Looks for new tasks that failed", registry=self.registry)

    def measure(
        self,
        *,
        waiting: Callable[[], float],
        components: Callable[[], float],
        component_bytes: Callable[[], float],
        tasks: Callable[[], float],
        version: Callable[[], float],
    ) -> None:
        """Add what is looked up when somebody asks.

        Args:
            waiting: Images that wait.
            components: Components in memory.
            component_bytes: Their room, in bytes.
            tasks: Tasks that are served.
            version: Version of the system that is served.
        """
        for name, text, look in (
            ("mu2net_images_waiting", "Images that wait", waiting),
            ("mu2net_components_loaded", "Components in memory", components),
            ("mu2net_component_bytes", "Room of the components in memory", component_bytes),
            ("mu2net_tasks", "Tasks that are served", tasks),
            ("mu2net_system_version", "Version of the system that is served", version),
            ("mu2net_trunk_reuse_ratio", "Share of the work that shared trunks saved so far", self._reuse),
        ):
            Gauge(name, text, registry=self.registry).set_function(look)

    def _reuse(self) -> float:
        asked = self.registry.get_sample_value("mu2net_slots_asked_total") or 0.0
        computed = self.registry.get_sample_value("mu2net_slots_computed_total") or 0.0
        return 1.0 - computed / asked if asked else 0.0

    def count_batch(self, batch: Batch) -> None:
        """Count a batch that ran."""
        self.batch_images.observe(batch.images)
        self.batch_requests.observe(batch.requests)
        self.batch_seconds.observe(batch.seconds)
        self.slots_asked.inc(batch.classified.asked)
        self.slots_computed.inc(batch.classified.computed)
        self.ties.inc(batch.classified.settled)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)
