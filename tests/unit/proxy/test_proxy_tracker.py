"""The tracker: events in any order lead to one state, and only real changes are reported."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.api.meta_v1 import ObjectMeta
from sampan.proxy.objects import ProxyNode
from sampan.proxy.state import ServicePortName, State
from support.proxyobjects import EVENTS, Event, endpoint, feed, service, slice_, tracker

HTTP = ServicePortName("default", "web", "http", "TCP")


def node(zone: str) -> ProxyNode:
    return ProxyNode(metadata=ObjectMeta(name="node-1", labels={"topology.kubernetes.io/zone": zone}))


def test_a_change_is_reported_once_with_before_and_after() -> None:
    tracking = tracker()
    tracking.service_changed(None, service())
    tracking.slice_changed(None, slice_(endpoint("10.244.0.1")))
    first = tracking.take()[4]
    assert first.changes[HTTP].before is None
    assert first.changes[HTTP].after == first.state.ports[HTTP]
    assert not tracking.dirty
    assert tracking.take()[4].changes == {}


@pytest.mark.parametrize(
    "again",
    [
        lambda tracking: tracking.service_changed(service(), service()),
        lambda tracking: tracking.service_changed(service(), service(labels={"seen": "yes"})),
        lambda tracking: tracking.slice_changed(None, slice_(endpoint("10.244.0.1"))),
        lambda tracking: tracking.slice_changed(None, slice_(endpoint("10.244.0.9"), port_name="other", name="web-2")),
        lambda tracking: tracking.node_changed(None, node("zone-z")),
    ],
    ids=["same Service", "another label", "same slice", "a slice for another port", "another zone without hints"],
)
def test_events_that_change_nothing_are_not_reported(again: Any) -> None:
    tracking = tracker()
    tracking.service_changed(None, service())
    tracking.slice_changed(None, slice_(endpoint("10.244.0.1")))
    tracking.take()
    again(tracking)
    assert [outcome.changes for outcome in tracking.take().values()] == [{}, {}]


def test_a_slice_that_moves_to_another_service_leaves_the_first() -> None:
    tracking = tracker()
    tracking.service_changed(None, service("web"))
    tracking.service_changed(None, service("other", cluster_ip="10.96.0.2"))
    tracking.slice_changed(None, slice_(endpoint("10.244.0.1")))
    tracking.take()
    tracking.slice_changed(slice_(endpoint("10.244.0.1")), slice_(endpoint("10.244.0.1"), service="other"))
    ports = tracking.take()[4].state.ports
    assert not ports[HTTP].endpoints
    assert len(ports[HTTP._replace(name="other")].endpoints) == 1


def test_a_new_zone_changes_what_hints_mean() -> None:
    tracking = tracker()
    tracking.node_changed(None, node("zone-a"))
    tracking.service_changed(None, service())
    both = (endpoint("10.244.0.1", zones=("zone-a",)), endpoint("10.244.0.2", zones=("zone-b",)))
    tracking.slice_changed(None, slice_(*both))
    assert [each.ip for each in tracking.take()[4].state.ports[HTTP].endpoints] == ["10.244.0.1"]
    tracking.node_changed(node("zone-a"), node("zone-b"))
    assert [each.ip for each in tracking.take()[4].state.ports[HTTP].endpoints] == ["10.244.0.2"]


@given(EVENTS, st.integers(0, 2**32), st.sets(st.integers(0, 14)))
def test_incremental_equals_whole_in_any_order(events: list[Event], seed: int, pauses: set[int]) -> None:
    """Taking changes now and then ends in the same state as hearing of the final objects alone, in any order."""
    gradual, known = tracker(), {}
    replayed: dict[int, dict[Any, Any]] = {4: {}, 6: {}}
    for number, event in enumerate([*events, ("end", None)]):
        if event[0] != "end":
            feed(gradual, known, event)
        if number in pauses or event[0] == "end":
            for family, outcome in gradual.take().items():
                for name, (before, after) in outcome.changes.items():
                    assert replayed[family].get(name) == before
                    replayed[family][name] = after
    final = [(kind, item) for (kind, _), item in known.items()]
    random.Random(seed).shuffle(final)
    whole = tracker()
    for event in final:
        feed(whole, {}, event)
    for family, outcome in whole.take().items():
        mine = {name: port for name, port in replayed[family].items() if port is not None}
        assert mine == dict(outcome.state.ports)


@given(EVENTS)
def test_deleting_everything_leaves_nothing(events: list[Event]) -> None:
    tracking, known = tracker(), {}
    for event in events:
        feed(tracking, known, event)
    tracking.take()
    for (kind, _), item in known.items():
        (tracking.service_changed if kind == "service" else tracking.slice_changed)(item, None)
    states: list[State] = [outcome.state for outcome in tracking.take().values()]
    assert [dict(state.ports) for state in states] == [{}, {}]
