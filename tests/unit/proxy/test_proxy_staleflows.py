"""Which UDP flows are forgotten."""

import pytest

from sampan.api.core_v1 import ServicePort
from sampan.kernel.conntrack import Flow
from sampan.proxy.staleflows import stale, udp_addresses
from sampan.proxy.tracker import Changes, Tracker
from support.proxyobjects import endpoint, service, slice_


def changes(protocol: str, before: list[str], after: list[str] | None) -> Changes:
    tracker = Tracker("node-1", (4,))
    spec = service(type="NodePort", ports=(ServicePort(name="dns", protocol=protocol, port=53, node_port=30053),))
    first = slice_(*map(endpoint, before), port=5353, port_name="dns", protocol=protocol)
    tracker.service_changed(None, spec)
    tracker.slice_changed(None, first)
    made = tracker.take()[4].changes
    if after is None:
        tracker.service_changed(spec, None)
    else:
        tracker.slice_changed(first, slice_(*map(endpoint, after), port=5353, port_name="dns", protocol=protocol))
    return tracker.take()[4].changes or made


def flow(destination: str, port: int, backend: str, backend_port: int = 5353) -> Flow:
    return Flow("UDP", "10.244.0.9", destination, port, backend, backend_port, (b"", b""))


CLUSTER, NODE = ("10.96.0.1", 53), ("10.2.2.10", 30053)


@pytest.mark.parametrize(
    ("after", "tracked", "forgotten"),
    [
        (["10.244.0.2"], flow(*CLUSTER, "10.244.0.1"), True),
        (["10.244.0.2"], flow(*CLUSTER, "10.244.0.2"), False),
        (["10.244.0.2"], flow(*NODE, "10.244.0.1"), True),
        (["10.244.0.2"], flow(*CLUSTER, "10.96.0.1", 53), True),
        (["10.244.0.2"], flow("10.96.0.1", 54, "10.244.0.1"), False),
        (["10.244.0.2"], flow("192.0.2.1", 53, "192.0.2.1", 53), False),
        (None, flow(*CLUSTER, "10.244.0.1"), True),
    ],
    ids=[
        "its endpoint went", "its endpoint stayed", "by node port", "from before there was an endpoint",
        "another port", "nobody's Service", "the Service went",
    ],
)  # fmt: skip
def test_stale_flows(after: list[str] | None, tracked: Flow, forgotten: bool) -> None:
    serving = udp_addresses(changes("UDP", ["10.244.0.1"], after), ("10.2.2.10",))
    assert stale([tracked], serving) == ([tracked] if forgotten else [])


def test_tcp_flows_are_left_alone() -> None:
    assert udp_addresses(changes("TCP", ["10.244.0.1"], []), ("10.2.2.10",)) == {}
