"""The proxy's metrics have upstream's names, types and labels, and count what upstream's count."""

import asyncio
from typing import ClassVar

import pytest

from sampan.proxy.backends.interface import BackendError, RuleCount
from sampan.proxy.metrics import Metrics
from sampan.proxy.options import ProxyOptions
from sampan.proxy.state import State
from sampan.proxy.syncer import Syncer
from sampan.proxy.tracker import Changes
from support.proxyobjects import endpoint, service, slice_, tracker

UPSTREAM = {
    "conntrack_reconciler_deleted_entries_total": "counter",
    "conntrack_reconciler_sync_duration_seconds": "histogram",
    "network_programming_duration_seconds": "histogram",
    "proxy_healthz_total": "counter",
    "proxy_livez_total": "counter",
    "sync_full_proxy_rules_duration_seconds": "histogram",
    "sync_partial_proxy_rules_duration_seconds": "histogram",
    "sync_proxy_rules_duration_seconds": "histogram",
    "sync_proxy_rules_endpoint_changes_pending": "gauge",
    "sync_proxy_rules_endpoint_changes_total": "counter",
    "sync_proxy_rules_iptables_last": "gauge",
    "sync_proxy_rules_iptables_partial_restore_failures_total": "counter",
    "sync_proxy_rules_iptables_restore_failures_total": "counter",
    "sync_proxy_rules_iptables_total": "gauge",
    "sync_proxy_rules_last_queued_timestamp_seconds": "gauge",
    "sync_proxy_rules_last_timestamp_seconds": "gauge",
    "sync_proxy_rules_nftables_sync_failures_total": "counter",
    "sync_proxy_rules_no_local_endpoints_total": "gauge",
    "sync_proxy_rules_service_changes_pending": "gauge",
    "sync_proxy_rules_service_changes_total": "counter",
}
"""Names, without `kubeproxy_`, and types."""


class Pretended:
    """A backend that touches no kernel."""

    mode: ClassVar[str] = "iptables"

    def __init__(self, options: ProxyOptions | None = None, family: int = 4) -> None:
        self.fails = False
        self.rule_counts = {"nat": RuleCount(7, 3)}

    def is_supported(self) -> str:
        return ""

    def render(self, state: State) -> str:
        return ""

    async def apply(self, state: State, changes: Changes | None) -> None:
        if self.fails:
            raise BackendError("no")

    async def cleanup(self) -> None:
        pass

    def close(self) -> None:
        pass


def shown(metrics: Metrics) -> dict[str, float]:
    lines = [line for line in metrics.render().decode().splitlines() if not line.startswith("#")]
    return {name.removeprefix("kubeproxy_"): float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_all_of_upstreams_metrics_are_there_and_no_others_under_its_name() -> None:
    types = [line.split() for line in Metrics().render().decode().splitlines() if line.startswith("# TYPE kubeproxy_")]
    assert {name.removeprefix("kubeproxy_"): kind for _, _, name, kind in types} == UPSTREAM


def test_syncs_are_measured_by_family_and_kind() -> None:
    """The first is a full one; then a family in which nothing changed is not synced."""
    backends = {4: Pretended(), 6: Pretended()}
    metrics, tracking = Metrics(), tracker()
    syncer = Syncer(tracking, backends, metrics)
    tracking.service_changed(None, service())
    tracking.slice_changed(None, slice_(endpoint("10.244.0.1")))
    assert shown(metrics)["sync_proxy_rules_service_changes_pending"] == 1
    assert shown(metrics)["sync_proxy_rules_endpoint_changes_pending"] == 1
    syncer.wake()
    assert asyncio.run(syncer.sync())
    tracking.slice_changed(None, slice_(endpoint("10.244.0.2")))
    syncer.note_trigger("2026-01-02T03:04:05Z", "IPv4")
    assert asyncio.run(syncer.sync())
    found = shown(metrics)
    assert found["sync_proxy_rules_service_changes_pending"] == 0
    assert found["sync_proxy_rules_endpoint_changes_pending"] == 0
    counts = {
        (kind, family): found.get(f'sync_{kind}proxy_rules_duration_seconds_count{{ip_family="{family}"}}', 0)
        for kind in ("", "full_", "partial_")
        for family in ("IPv4", "IPv6")
    }
    assert counts == {
        ("", "IPv4"): 2, ("full_", "IPv4"): 1, ("partial_", "IPv4"): 1,
        ("", "IPv6"): 1, ("full_", "IPv6"): 1, ("partial_", "IPv6"): 0,
    }  # fmt: skip
    assert found['network_programming_duration_seconds_count{ip_family="IPv4"}'] == 1
    assert found['sync_proxy_rules_last_timestamp_seconds{ip_family="IPv6"}'] > 0
    assert found['sync_proxy_rules_last_queued_timestamp_seconds{ip_family="IPv6"}'] > 0
    assert found['sync_proxy_rules_iptables_total{ip_family="IPv4",table="nat"}'] == 7
    assert found['sync_proxy_rules_iptables_last{ip_family="IPv4",table="nat"}'] == 3


def test_failures_are_counted_by_family_and_kind() -> None:
    backends = {4: Pretended(), 6: Pretended()}
    metrics, tracking = Metrics(), tracker()
    syncer = Syncer(tracking, backends, metrics)
    backends[4].fails = True
    assert not asyncio.run(syncer.sync())
    backends[4].fails = False
    assert asyncio.run(syncer.sync())
    backends[4].fails = True
    tracking.service_changed(None, service())
    assert not asyncio.run(syncer.sync())
    found = shown(metrics)
    assert found['sync_proxy_rules_iptables_restore_failures_total{ip_family="IPv4"}'] == 1
    assert found['sync_proxy_rules_iptables_partial_restore_failures_total{ip_family="IPv4"}'] == 1
    assert 'sync_proxy_rules_iptables_restore_failures_total{ip_family="IPv6"}' not in found


@pytest.mark.parametrize(
    ("nodes", "internal", "external"), [(["node-2"], 1, 1), (["node-1", "node-2"], 0, 0), ([], 0, 0)]
)
def test_services_that_drop_for_want_of_a_local_endpoint_are_told(
    nodes: list[str], internal: int, external: int
) -> None:
    """One without any endpoint refuses, and does not count; when it goes, neither."""
    metrics, tracking = Metrics(), tracker()
    syncer = Syncer(tracking, {4: Pretended(), 6: Pretended()}, metrics)
    local = service(type="NodePort", internal_traffic_policy="Local", external_traffic_policy="Local")
    tracking.service_changed(None, local)
    tracking.slice_changed(None, slice_(*(endpoint(f"10.244.0.{at}", node=node) for at, node in enumerate(nodes))))
    assert asyncio.run(syncer.sync())
    name = "sync_proxy_rules_no_local_endpoints_total"
    found = shown(metrics)
    assert found[f'{name}{{ip_family="IPv4",traffic_policy="internal"}}'] == internal
    assert found[f'{name}{{ip_family="IPv4",traffic_policy="external"}}'] == external
    tracking.service_changed(local, None)
    assert asyncio.run(syncer.sync())
    assert shown(metrics)[f'{name}{{ip_family="IPv4",traffic_policy="internal"}}'] == 0
