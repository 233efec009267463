"""How long a change of a headless Service's endpoints takes to reach its names, as CoreDNS measures it.

The endpoints controller notes on a slice when the change happened that made it write; when the slice has arrived here,
the names are right. Only headless Services are measured: the names of others do not change with their endpoints.
"""

import time

from sampan.dns.cluster import Cluster
from sampan.dns.metrics import Metrics
from sampan.dns.objects import EndpointSlice

HEADLESS = "headless_with_selector"
"""Slices that nobody's controller wrote have no such note, so that a selector there must be."""


class Programming:
    """Handles the slices' events, behind the handler that changes the cluster."""

    def __init__(self, cluster: Cluster, metrics: Metrics) -> None:
        self.active = False
        """Off during the first list, whose changes are old."""
        self._cluster, self._metrics = cluster, metrics

    def handle(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        if not self.active or new is None or not new.triggered:
            return
        if old is not None and old.triggered == new.triggered:
            return
        service = self._cluster.services.get((new.metadata.namespace, new.service))
        if service is not None and service.headless:
            self._metrics.programming_seconds.observe(max(0.0, time.time() - new.triggered), HEADLESS)
