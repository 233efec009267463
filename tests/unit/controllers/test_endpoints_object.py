"""Endpoints: subsets of a Service's pods, truncation, and mirroring into slices."""

import pytest

from sampan.api.core_v1 import Endpoints
from sampan.controllers.endpoints import MAX_ADDRESSES, desired_subsets, endpoints_labels, truncated
from sampan.controllers.endpointslicemirroring import LEADER, SKIP_MIRROR, mirrored, should_mirror
from support.objects import made, metadata, pod, service


def shown(subsets):
    """Subsets as (ready, not ready, ports)."""
    return [
        (
            [one.ip for one in subset.addresses],
            [one.ip for one in subset.not_ready_addresses],
            [(port.name, port.port) for port in subset.ports],
        )
        for subset in subsets
    ]


def test_ready_and_unready_pods_share_a_subset():
    pods = [pod("b", ip="10.0.0.2", ready=False), pod("a", ip="10.0.0.1")]
    assert shown(desired_subsets(service(), pods)) == [(["10.0.0.1"], ["10.0.0.2"], [("", 8080)])]


def test_ports_with_the_same_addresses_share_a_subset_and_others_do_not():
    def serving(**numbers):
        return [{"name": "c", "ports": [{"name": name, "containerPort": port} for name, port in numbers.items()]}]

    svc = service(ports=[{"name": n, "port": p, "targetPort": n} for n, p in (("http", 80), ("admin", 81))])
    pods = [
        pod("a", ip="10.0.0.1", containers=serving(http=8080, admin=9090)),
        pod("b", ip="10.0.0.2", containers=serving(http=8080, admin=9090)),
        pod("c", ip="10.0.0.3", containers=serving(http=8081)),
    ]
    assert shown(desired_subsets(svc, pods)) == [
        (["10.0.0.1", "10.0.0.2"], [], [("http", 8080), ("admin", 9090)]),
        (["10.0.0.3"], [], [("http", 8081)]),
    ]


@pytest.mark.parametrize(
    ("publish", "options", "expected"),
    [
        (False, {"deleted": True}, []),
        (True, {"deleted": True}, [(["10.0.0.1"], [], [("", 8080)])]),
        (True, {"ready": False}, [(["10.0.0.1"], [], [("", 8080)])]),
        (False, {"phase": "Failed"}, []),
        (True, {"phase": "Succeeded"}, []),
    ],
)
def test_which_pods_are_published(publish, options, expected):
    svc = service(publishNotReadyAddresses=publish)
    assert shown(desired_subsets(svc, [pod("a", ip="10.0.0.1", **options)])) == expected


def test_a_headless_service_needs_no_ports():
    svc = service(ports=[], clusterIP="None")
    assert shown(desired_subsets(svc, [pod("a", ip="10.0.0.1")])) == [(["10.0.0.1"], [], [])]
    assert endpoints_labels(svc)["service.kubernetes.io/headless"] == ""


def test_above_a_thousand_addresses_the_ready_ones_stay():
    pods = [pod(f"p{i:04}", ip=f"10.0.{i // 200}.{i % 200 + 1}", ready=i % 2 == 0) for i in range(1200)]
    subsets, over = truncated(desired_subsets(service(), pods))
    assert over
    assert (len(subsets[0].addresses), len(subsets[0].not_ready_addresses)) == (600, MAX_ADDRESSES - 600)


# --- mirroring


def by_hand(*subsets, labels=None, annotations=None):
    meta = metadata("web", labels=labels or {}, annotations=annotations or {})
    return made(Endpoints, metadata=meta, subsets=list(subsets))


@pytest.mark.parametrize(
    ("endpoints", "svc", "expected"),
    [
        (by_hand(), service(selector={}), True),
        (by_hand(), service(), False),
        (by_hand(), None, False),
        (by_hand(labels={SKIP_MIRROR: "true"}), service(selector={}), False),
        (by_hand(annotations={LEADER: "{}"}), service(selector={}), False),
    ],
    ids=["by-hand", "selected", "no-service", "asked-not-to", "leader-election"],
)
def test_only_endpoints_made_by_hand_for_a_service_are_mirrored(endpoints, svc, expected):
    assert should_mirror(endpoints, svc) is expected


def test_a_mirror_keeps_unnamed_ports_unnamed_and_families_apart():
    endpoints = by_hand(
        {
            "addresses": [{"ip": "192.0.2.1", "hostname": "one"}, {"ip": "2001:db8::1"}],
            "notReadyAddresses": [{"ip": "192.0.2.2"}],
            "ports": [{"port": 80}],
        }
    )
    ((ports, found),) = mirrored(endpoints, "IPv4").items()
    assert [(one.name, one.protocol, one.port) for one in ports] == [("", "TCP", 80)]
    assert [(one.addresses, one.conditions.ready, one.hostname) for one in found] == [
        (("192.0.2.1",), True, "one"),
        (("192.0.2.2",), False, None),
    ]
    ((_, (six,)),) = mirrored(endpoints, "IPv6").items()
    assert six.addresses == ("2001:db8::1",)


def test_subsets_with_the_same_ports_become_one_group():
    subset = {"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 80}]}
    other = {"addresses": [{"ip": "192.0.2.2"}], "ports": [{"port": 80}]}
    ((_, found),) = mirrored(by_hand(subset, other), "IPv4").items()
    assert [one.addresses[0] for one in found] == ["192.0.2.1", "192.0.2.2"]
