"""EndpointSlices: which endpoints a Service must have, and how few writes bring its slices there."""

import itertools

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.api.discovery_v1 import Endpoint, EndpointPort, EndpointSlice
from sampan.api.meta_v1 import ObjectMeta
from sampan.controllers.endpointslices import packing
from sampan.controllers.endpointslices.controller import MANAGED_BY, content_object, slice_labels
from sampan.controllers.endpointslices.desired import desired_endpoints
from sampan.controllers.endpointslices.packing import Changes, pack
from sampan.controllers.endpointslices.triggers import TriggerTimes
from support.objects import metadata, pod, service

ZONES = {"node-1": "zone-a"}


def endpoints_of(svc, *pods, family="IPv4"):
    return desired_endpoints(svc, pods, ZONES.get, family)


def only(groups):
    ((ports, (endpoint,)),) = groups.items()
    return ports, endpoint


@pytest.mark.parametrize(
    ("options", "conditions"),
    [
        ({"ready": True}, (True, True, False)),
        ({"ready": False}, (False, False, False)),
        ({"ready": None}, (False, False, False)),
        ({"ready": True, "deleted": True}, (False, True, True)),
        ({"ready": False, "deleted": True}, (False, False, True)),
    ],
)
@pytest.mark.parametrize("publish", [False, True])
def test_conditions_say_whether_an_endpoint_is_ready_serving_and_terminating(options, conditions, publish):
    svc = service(publishNotReadyAddresses=publish)
    _, endpoint = only(endpoints_of(svc, pod("p", ip="10.0.0.1", **options)))
    ready, serving, terminating = conditions
    found = endpoint.conditions
    assert (found.ready, found.serving, found.terminating) == (ready or publish, serving, terminating)


@pytest.mark.parametrize(
    "missing",
    [
        pod("p"),
        pod("p", ip="10.0.0.1", phase="Failed"),
        pod("p", ip="10.0.0.1", phase="Succeeded"),
        pod("p", ip="fd::1"),
    ],
    ids=["no-address", "failed", "succeeded", "other-family"],
)
def test_pods_without_an_address_of_the_family_and_ended_ones_are_no_endpoints(missing):
    assert endpoints_of(service(), missing) == {}


def test_an_endpoint_names_its_pod_node_and_zone():
    _, endpoint = only(endpoints_of(service(), pod("p", ip="10.0.0.1", node="node-1")))
    assert (endpoint.addresses, endpoint.node_name, endpoint.zone) == (("10.0.0.1",), "node-1", "zone-a")
    reference = endpoint.target_ref
    assert (reference.kind, reference.namespace, reference.name, reference.uid) == ("Pod", "default", "p", "uid-p")


@pytest.mark.parametrize(
    ("subdomain", "hostname", "expected"), [("web", "web-0", "web-0"), ("other", "web-0", None), ("web", "", None)]
)
def test_a_hostname_is_published_within_the_pods_own_subdomain(subdomain, hostname, expected):
    _, endpoint = only(endpoints_of(service(), pod("p", ip="10.0.0.1", hostname=hostname, subdomain=subdomain)))
    assert endpoint.hostname == expected


def named(name, number, protocol="TCP", **more):
    return [{"name": "c", "ports": [{"name": name, "containerPort": number, "protocol": protocol}], **more}]


def test_named_ports_are_looked_up_in_each_pod_and_pods_that_differ_are_kept_apart():
    svc = service(ports=[{"name": "main", "port": 80, "targetPort": "http"}])
    groups = endpoints_of(
        svc,
        pod("a", ip="10.0.0.1", containers=named("http", 8080)),
        pod("b", ip="10.0.0.2", containers=named("http", 9090)),
        pod("c", ip="10.0.0.3", containers=named("other", 8080)),
        pod("d", ip="10.0.0.4", containers=named("http", 8080, "UDP")),
        pod("e", ip="10.0.0.5", initContainers=named("http", 8080, restartPolicy="Always")),
    )
    found = {
        tuple((port.name, port.protocol, port.port) for port in ports): sorted(e.target_ref.name for e in endpoints)
        for ports, endpoints in groups.items()
    }
    assert found == {(("main", "TCP", 8080),): ["a", "e"], (("main", "TCP", 9090),): ["b"], (): ["c", "d"]}


@pytest.mark.parametrize(
    ("port", "expected"),
    [({"port": 80}, 80), ({"port": 80, "targetPort": 8080}, 8080), ({"port": 80, "targetPort": 0}, 80)],
)
def test_without_a_target_port_the_services_own_is_meant(port, expected):
    (found,), _ = only(endpoints_of(service(ports=[port]), pod("p", ip="10.0.0.1")))
    assert (found.name, found.protocol, found.port) == ("", "TCP", expected)


def test_each_family_of_a_dual_stack_pod_has_its_own_endpoints():
    svc = service(ipFamilies=["IPv4", "IPv6"])
    dual = pod("p", ips=("10.0.0.1", "fd00::1"))
    assert only(endpoints_of(svc, dual, family="IPv4"))[1].addresses == ("10.0.0.1",)
    assert only(endpoints_of(svc, dual, family="IPv6"))[1].addresses == ("fd00::1",)


@pytest.mark.parametrize(
    ("distribution", "zones", "nodes"),
    [(None, (), ()), ("PreferClose", ("zone-a",), ()), ("PreferSameNode", ("zone-a",), ("node-1",))],
)
def test_traffic_distribution_becomes_hints(distribution, zones, nodes):
    svc = service(trafficDistribution=distribution)
    _, endpoint = only(endpoints_of(svc, pod("p", ip="10.0.0.1", node="node-1")))
    hints = endpoint.hints
    found = ((), ()) if hints is None else (hints.for_zones, hints.for_nodes)
    assert tuple(tuple(one.name for one in part) for part in found) == (zones, nodes)


def test_slices_carry_the_services_labels_and_their_own():
    labels = slice_labels(service(labels={"team": "x", MANAGED_BY: "someone"}, clusterIP="None"))
    assert labels == {
        "team": "x",
        "service.kubernetes.io/headless": "",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }


# --- packing

HTTP = (EndpointPort(name="", protocol="TCP", port=80),)
ALT = (EndpointPort(name="", protocol="TCP", port=81),)
NAMES = itertools.count()


def endpoint(number, ready=True):
    address = f"10.0.{number // 250}.{number % 250 + 1}"
    built = {"addresses": [address], "conditions": {"ready": ready}, "targetRef": {"uid": f"uid-{number}"}}
    return msgspec.convert(built, Endpoint)


def apply(changes: Changes, existing: list[EndpointSlice]) -> list[EndpointSlice]:
    """What the slices are once the server has the changes."""
    slices = {one.metadata.name: one for one in existing}
    for one in changes.delete:
        del slices[one.metadata.name]
    for one, content in changes.update:
        slices[one.metadata.name] = msgspec.structs.replace(one, ports=content.ports, endpoints=content.endpoints)
    for content in changes.create:
        meta = msgspec.convert(metadata(f"slice-{next(NAMES)}"), ObjectMeta)
        created = EndpointSlice(metadata=meta, ports=content.ports, endpoints=content.endpoints)
        slices[meta.name] = created
    return list(slices.values())


def content(slices):
    """What the slices say, whatever slice says it."""
    return sorted(
        ([port.port for port in one.ports], each.target_ref.uid, each.conditions.ready)
        for one in slices
        for each in one.endpoints
    )


def packed(desired, existing=()):
    return apply(pack(desired, existing, placeholder=True), list(existing))


def writes(changes):
    return len(changes.create), len(changes.update), len(changes.delete)


def group(count, start=0):
    return tuple(endpoint(number) for number in range(start, start + count))


@pytest.mark.parametrize(("count", "sizes"), [(0, [0]), (1, [1]), (100, [100]), (101, [1, 100]), (250, [50, 100, 100])])
def test_slices_hold_at_most_a_hundred_and_there_is_always_one(count, sizes):
    slices = packed({HTTP: group(count)} if count else {})
    assert sorted(len(one.endpoints) for one in slices) == sizes


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({HTTP: group(3)}, {HTTP: group(3)}, (0, 0, 0)),
        ({HTTP: group(3)}, {HTTP: group(4)}, (0, 1, 0)),
        ({HTTP: group(3)}, {HTTP: group(2)}, (0, 1, 0)),
        ({HTTP: group(100)}, {HTTP: group(101)}, (1, 0, 0)),
        ({HTTP: group(150)}, {HTTP: group(150, start=1)}, (0, 1, 0)),
        ({HTTP: group(250)}, {HTTP: group(100)}, (0, 0, 2)),
        ({HTTP: group(3)}, {ALT: group(3)}, (0, 1, 0)),
        ({HTTP: group(3)}, {}, (0, 1, 0)),
        ({}, {HTTP: group(3)}, (0, 1, 0)),
        ({}, {}, (0, 0, 0)),
        ({HTTP: group(3)}, {HTTP: group(2), ALT: group(1, start=2)}, (1, 1, 0)),
    ],
)
def test_a_change_costs_as_few_writes_as_it_can(before, after, expected):
    existing = packed(before)
    assert writes(pack(after, existing, placeholder=True)) == expected


def test_a_changed_condition_rewrites_its_slice_alone():
    existing = packed({HTTP: group(250)})
    changed = (endpoint(0, ready=False), *group(249, start=1))
    changes = pack({HTTP: changed}, existing, placeholder=True)
    assert writes(changes) == (0, 1, 0)


def test_endpoints_that_appear_twice_are_kept_once():
    (one,) = packed({HTTP: group(3)})
    twin = msgspec.structs.replace(one, metadata=msgspec.structs.replace(one.metadata, name="twin"))
    slices = packed({HTTP: group(3)}, [one, twin])
    assert content(slices) == content([one])


worlds = st.dictionaries(
    st.sampled_from([HTTP, ALT]),
    st.lists(st.tuples(st.integers(0, 12), st.booleans()), unique_by=lambda pair: pair[0], min_size=1).map(
        lambda pairs: tuple(endpoint(number, ready) for number, ready in pairs)
    ),
)


@settings(max_examples=200, deadline=None)
@given(history=st.lists(worlds, max_size=6), final=worlds)
def test_any_history_ends_in_the_same_endpoints_and_a_second_look_changes_nothing(
    history,
    final,
):
    """With room for three endpoints a slice, so that histories split and merge slices."""
    room, packing.MAX_ENDPOINTS = packing.MAX_ENDPOINTS, 3
    try:
        slices: list[EndpointSlice] = []
        for desired in (*history, final):
            slices = packed(desired, slices)
            assert all(len(one.endpoints) <= 3 for one in slices)
        assert content(slices) == content(packed(final))
        assert writes(pack(final, slices, placeholder=True)) == (0, 0, 0)
    finally:
        packing.MAX_ENDPOINTS = room


def test_ports_and_conditions_are_written_even_when_they_are_empty_or_false():
    slices = packed({HTTP: (endpoint(1, ready=False),)})
    changes = pack({HTTP: (endpoint(2, ready=False),)}, slices, placeholder=True)
    ((_, new),) = changes.update
    written = content_object(new)
    assert written["ports"] == [{"name": "", "protocol": "TCP", "port": 80}]
    assert written["endpoints"][0]["conditions"] == {"ready": False}


def test_the_trigger_time_is_that_of_the_earliest_change_not_yet_told():
    triggers, svc = TriggerTimes(), service()
    first = pod("a", since=10)
    assert triggers.update(svc, [first]) == "2026-01-01T00:00:00Z"
    assert triggers.update(svc, [first]) is None
    later = [pod("a", since=30), pod("b", since=20)]
    assert triggers.update(svc, later) == "2026-01-01T00:00:20Z"
