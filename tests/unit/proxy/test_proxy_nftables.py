"""The nftables mode without a kernel: the content of its maps, and that changes lead where a fresh render does."""

from typing import Any

import pytest
from hypothesis import given

from sampan.api.core_v1 import LoadBalancerIngress
from sampan.proxy.backends import keys
from sampan.proxy.backends.nftables import chains, layout
from sampan.proxy.backends.nftables.encode import VERDICTS, transaction
from sampan.proxy.backends.nftables.ledger import Delta, Ledger, Tally
from sampan.proxy.backends.nftables.text import script
from sampan.proxy.state import ServicePortName
from support.proxyobjects import EVENTS, Event, endpoint, feed, service, slice_, tracker

NODE_IPS = {4: ("10.2.2.10",), 6: ("fd00:2::10",)}


class Twin:
    """The kernel's maps in memory, with its rules: what is added must not be there, what is deleted must."""

    def __init__(self) -> None:
        self.maps: dict[str, dict[bytes, Any]] = {name: {} for name in VERDICTS}
        self.slots: dict[tuple[bytes, int], bytes] = {}
        self.sets: dict[str, set[str]] = {"cluster_ips": set(), "hairpins": set()}

    def apply(self, delta: Delta, family: int) -> None:
        for key, old, _ in delta.targets:
            if old is not None:
                for name, verdict in VERDICTS.items():
                    if verdict(old):
                        assert self.maps[name].pop(key) == verdict(old)
                for index, slot in _slots(old, family):
                    assert self.slots.pop((key, index)) == slot
        for key, _, new in delta.targets:
            if new is not None:
                for name, verdict in VERDICTS.items():
                    if verdict(new):
                        assert self.maps[name].setdefault(key, verdict(new)) == verdict(new)
                for index, slot in _slots(new, family):
                    assert (key, index) not in self.slots
                    self.slots[key, index] = slot
        for name, members in self.sets.items():
            added, removed = getattr(delta, name)
            assert members >= set(removed)
            assert not members & set(added)
            members.difference_update(removed)
            members.update(added)


def _slots(target: Any, family: int) -> list[tuple[int, bytes]]:
    size = layout.slot_bytes(family)
    found = []
    for first, slots in ((0, target.slots), (layout.LOCAL_OFFSET, target.local_slots)):
        found += [(first + at // size, slots[at : at + size]) for at in range(0, len(slots), size)]
    return found


@given(EVENTS)
def test_incremental_equals_full_render(events: list[Event]) -> None:
    """After any events, one change at a time, maps and text equal those of a fresh start."""
    tracking, known = tracker(), {}
    ledgers = {family: Ledger(NODE_IPS[family]) for family in (4, 6)}
    twins = {family: Twin() for family in (4, 6)}
    for event in events:
        feed(tracking, known, event)
        for family, outcome in tracking.take().items():
            twins[family].apply(ledgers[family].update(outcome.changes), family)
    for family, outcome in tracking.take().items():
        fresh, twin = Ledger(outcome.state.node_ips), Twin()
        twin.apply(fresh.update_all(outcome.state), family)
        assert vars(twin) == vars(twins[family])
        assert script(fresh, family) == script(ledgers[family], family)


@given(EVENTS)
def test_applying_the_same_changes_again_changes_nothing(events: list[Event]) -> None:
    tracking, known = tracker(), {}
    for event in events:
        feed(tracking, known, event)
    for family, outcome in tracking.take().items():
        ledger = Ledger.of(outcome.state)
        delta = ledger.update({name: (port, port) for name, port in outcome.state.ports.items()})  # type: ignore[misc]
        assert not delta
        assert not transaction(delta, family).messages


def ledger(*events: Event) -> Ledger:
    tracking, known = tracker(), {}
    for event in events:
        feed(tracking, known, event)
    return Ledger.of(tracking.take()[4].state)


def target(of: Ledger, ip: str, port: int) -> Any:
    return of.targets.get(keys.service_key(ip, "TCP", port))


ONE_HERE_ONE_THERE = ("slice", slice_(endpoint("10.244.0.1"), endpoint("10.244.1.1", node="node-2")))
WEB_ID = chains.service_id(ServicePortName("default", "web", "http", "TCP"))
ELSEWHERE = ("slice", slice_(endpoint("10.244.1.1", node="node-2")))


@pytest.mark.parametrize(
    ("options", "slices", "address", "verdict", "external", "local"),
    [
        ({}, ONE_HERE_ONE_THERE, ("10.96.0.1", 80), "pick-2", "", ""),
        ({}, None, ("10.96.0.1", 80), "refuse", "", ""),
        ({"session_affinity": "ClientIP"}, ONE_HERE_ONE_THERE, ("10.96.0.1", 80), f"sticky-2-{WEB_ID}", "", ""),
        ({"internal_traffic_policy": "Local"}, ONE_HERE_ONE_THERE, ("10.96.0.1", 80), "pick-1", "", ""),
        ({"internal_traffic_policy": "Local"}, ELSEWHERE, ("10.96.0.1", 80), "discard", "", ""),
        ({"type": "NodePort"}, ONE_HERE_ONE_THERE, ("10.2.2.10", 30080), "pick-2", "external", ""),
        ({"type": "NodePort"}, None, ("10.2.2.10", 30080), "refuse", "external", ""),
        ({"external_ips": ("198.51.100.1",)}, ONE_HERE_ONE_THERE, ("198.51.100.1", 80), "pick-2", "external", ""),
        (
            {"type": "NodePort", "external_traffic_policy": "Local"},
            ONE_HERE_ONE_THERE, ("10.2.2.10", 30080), "pick-2", "external-local", "local-pick-1",
        ),
        (
            {"type": "NodePort", "external_traffic_policy": "Local"},
            ELSEWHERE, ("10.2.2.10", 30080), "pick-1", "external-local", "",
        ),
        (
            {"type": "LoadBalancer", "load_balancer_source_ranges": ("192.0.2.0/24",)},
            ONE_HERE_ONE_THERE, ("203.0.113.1", 80), "pick-2", "firewalled-external", "",
        ),
    ],
)  # fmt: skip
def test_what_an_address_leads_to(
    options: dict[str, Any], slices: Event | None, address: tuple[str, int], verdict: str, external: str, local: str
) -> None:
    """The maps' entries for one kind of address each."""
    options = {"ingress": (LoadBalancerIngress(ip="203.0.113.1"),), **options}
    made = target(ledger(("service", service(**options)), *([slices] if slices else [])), *address)
    assert (made.verdict, made.external, made.local_verdict) == (verdict, external, local)


def test_of_two_services_with_one_external_ip_the_first_name_has_it() -> None:
    """Whatever the order of events; and the other takes over when it goes."""
    first = service("a", external_ips=("198.51.100.1",))
    second = service("b", cluster_ip="10.96.0.2", external_ips=("198.51.100.1",))
    endpoints = ("slice", slice_(endpoint("10.244.0.1"), service="a"))
    for order in ([first, second], [second, first]):
        made = ledger(endpoints, *(("service", each) for each in order))
        assert target(made, "198.51.100.1", 80).verdict == "pick-1"
    assert target(ledger(endpoints, ("service", second)), "198.51.100.1", 80).verdict == "refuse"


def test_only_endpoints_that_may_be_here_are_hairpins() -> None:
    unknown = endpoint("10.244.9.9", node=None)
    made = ledger(
        ("service", service()),
        ("slice", slice_(endpoint("10.244.0.1"), endpoint("10.244.1.1", node="node-2"), unknown)),
    )
    assert made.hairpins == ["10.244.0.1", "10.244.9.9"]


def test_a_tally_reports_only_what_crossed_zero() -> None:
    tally = Tally()
    tally.hold("x")
    tally.hold("x")
    assert tally.take().added == ["x"]
    tally.release("x")
    assert tally.take() == ([], [])
    tally.release("x")
    tally.hold("x")
    assert tally.take() == ([], [])
    tally.release("x")
    assert tally.take().removed == ["x"]


@pytest.mark.parametrize("name", ["pick-3", "local-pick-1", "sticky-10-tcp-0123abc", "local-sticky-2-sctp-f"])
def test_a_spreading_chains_name_says_what_it_does(name: str) -> None:
    spread = chains.parse(name)
    assert spread is not None
    assert spread.chain == name


def test_other_chains_are_not_spreading_chains() -> None:
    others = ("refuse", "remember-5-tcp-ab", "pick-", "cluster-ip", "sticky-3", "pick-3-ab")
    assert [chains.parse(name) for name in others] == [None] * 6
    assert chains.parse_remember("remember-5-tcp-ab") == (5, "tcp-ab")


def test_what_no_service_port_needs_any_more_goes_with_the_change() -> None:
    """Chains, the maps of endpoints by their number, and the sets of one Service's affinity."""
    tracking = tracker()
    sticky = service(session_affinity="ClientIP")
    tracking.service_changed(None, sticky)
    tracking.slice_changed(None, slice_(endpoint("10.244.0.1"), endpoint("10.244.0.2")))
    made = Ledger(("10.2.2.10",))
    begun = made.update(tracking.take()[4].changes)
    assert begun.chains.added == ["pick-2", f"remember-10800-{WEB_ID}", f"sticky-2-{WEB_ID}"]
    assert made.uses_endpoint_map(2)
    tracking.slice_changed(None, slice_(endpoint("10.244.0.1")))
    fewer = made.update(tracking.take()[4].changes)
    assert fewer.chains == (["pick-1", f"sticky-1-{WEB_ID}"], ["pick-2", f"sticky-2-{WEB_ID}"])
    assert not made.uses_endpoint_map(2)
    tracking.service_changed(sticky, None)
    ended = made.update(tracking.take()[4].changes)
    assert ended.chains.removed == ["pick-1", f"remember-10800-{WEB_ID}", f"sticky-1-{WEB_ID}"]
    assert [(service, new) for service, _, new in ended.affinities] == [(WEB_ID, None)]
