"""One node answers for each address: every speaker comes to the same one, and only what must move moves."""

from collections import Counter

import pytest

from sampan.api.discovery_v1 import EndpointConditions
from sampan.api.meta_v1 import Condition, ObjectMeta
from sampan.loadbalancer.election import Candidates, candidates, elect, endpoint_nodes
from sampan.loadbalancer.objects import EXCLUDE, Node, NodeSpec, NodeStatus, Service, ServiceSpec, Slice, SliceEndpoint

NODES = frozenset(f"node-{number}" for number in range(1, 6))
ALL = Candidates(NODES, frozenset())
CLUSTER = Service(metadata=ObjectMeta(name="web", namespace="default"), spec=ServiceSpec(type="LoadBalancer"))
LOCAL = Service(
    metadata=ObjectMeta(name="local", namespace="default"),
    spec=ServiceSpec(type="LoadBalancer", external_traffic_policy="Local"),
)
ADDRESSES = [f"10.2.2.{last}" for last in range(200, 250)]


def node(name: str, *, ready: str = "True", cordoned: bool = False, **labels: str) -> Node:
    status = NodeStatus(conditions=(Condition(type="Ready", status=ready),))
    return Node(metadata=ObjectMeta(name=name, labels=labels), spec=NodeSpec(unschedulable=cordoned), status=status)


def slice_(*endpoints: tuple[str, bool, bool]) -> Slice:
    return Slice(
        endpoints=tuple(
            SliceEndpoint(
                node_name=name,
                conditions=EndpointConditions(ready=ready, serving=ready or terminating, terminating=terminating),
            )
            for name, ready, terminating in endpoints
        )
    )


def owners(alive: frozenset[str], who: Candidates = ALL) -> dict[str, str | None]:
    return {address: elect(address, [CLUSTER], who, alive, {}) for address in ADDRESSES}


def test_addresses_spread_over_all_nodes() -> None:
    assert set(Counter(owners(NODES).values())) == NODES


@pytest.mark.parametrize("dead", sorted(NODES))
def test_when_a_node_dies_its_addresses_move_and_no_other(dead: str) -> None:
    before, after = owners(NODES), owners(NODES - {dead})
    for address in ADDRESSES:
        assert after[address] != dead
        assert before[address] in (dead, after[address])
    assert owners(NODES) == before


def test_nobody_answers_where_nobody_lives() -> None:
    assert set(owners(frozenset()).values()) == {None}


def test_only_ready_nodes_that_are_not_excluded_are_candidates() -> None:
    nodes = [node("a"), node("b", ready="False"), node("c", ready="Unknown"), node("d", **{EXCLUDE: ""})]
    assert candidates(nodes) == Candidates(frozenset({"a"}), frozenset())


def test_a_cordoned_node_answers_only_if_no_other_can() -> None:
    who = candidates([node("a", cordoned=True), node("b")])
    assert set(owners(frozenset({"a", "b"}), who).values()) == {"b"}
    assert set(owners(frozenset({"a"}), who).values()) == {"a"}


def test_under_local_a_node_with_an_endpoint_answers() -> None:
    endpoints = {LOCAL.metadata.key: frozenset({"node-4"})}
    assert {elect(address, [LOCAL], ALL, NODES, endpoints) for address in ADDRESSES} == {"node-4"}
    assert elect("10.2.2.200", [LOCAL], ALL, NODES - {"node-4"}, endpoints) is None


def test_a_shared_address_is_answered_for_where_every_service_of_it_can_be_served() -> None:
    endpoints = {LOCAL.metadata.key: frozenset({"node-4"})}
    assert {elect(address, [CLUSTER, LOCAL], ALL, NODES, endpoints) for address in ADDRESSES} == {"node-4"}


def test_under_local_without_any_endpoint_some_node_refuses_the_clients() -> None:
    assert elect("10.2.2.200", [LOCAL], ALL, NODES, {LOCAL.metadata.key: frozenset()}) in NODES


@pytest.mark.parametrize(
    ("endpoints", "expected"),
    [
        ([("a", True, False), ("b", False, False)], {"a"}),
        ([("a", True, False), ("b", False, True)], {"a"}),
        ([("a", False, True), ("b", False, False)], {"a"}),
        ([("a", False, False)], set()),
    ],
)
def test_ready_endpoints_count_and_without_any_those_that_still_serve(endpoints, expected) -> None:
    assert endpoint_nodes([slice_(*endpoints)]) == expected
