"""What is told of each Service's connections and bytes, and what a state holds besides service ports."""

from sampan.proxy.backends.interface import Count
from sampan.proxy.backends.iptables.tally import Tally
from sampan.proxy.metrics import service_metrics
from sampan.proxy.state import ServicePortName
from support.proxyobjects import service, tracker


def test_each_service_port_with_connections_has_two_counters() -> None:
    """In Prometheus' text format, in order; a port that nobody has used yet is left out."""
    counts = {
        ServicePortName("default", "web", "http"): Count(3, 1500),
        ServicePortName("default", "idle", "http"): Count(0, 0),
        ServicePortName("default", "dns", "", "UDP"): Count(1, 90),
    }
    lines = [line for line in service_metrics(counts).decode().splitlines() if not line.startswith("#")]
    dns = 'namespace="default",service="dns",port="",protocol="UDP"'
    web = 'namespace="default",service="web",port="http",protocol="TCP"'
    assert lines == [
        f"sampan_proxy_service_connections_total{{{dns}}} 1",
        f"sampan_proxy_service_connections_total{{{web}}} 3",
        f"sampan_proxy_service_bytes_total{{{dns}}} 90",
        f"sampan_proxy_service_bytes_total{{{web}}} 1500",
    ]


def test_networks_of_services_reach_the_family_they_are_of() -> None:
    """They come with the state, and that they changed is told once, although no service port did."""
    tracking = tracker()
    tracking.service_changed(None, service())
    tracking.take()
    tracking.set_service_cidrs(["fd00:96::/108", "10.96.0.0/12"])
    assert tracking.dirty
    taken = tracking.take()
    assert [(outcome.moved, outcome.changes, outcome.state.service_cidrs) for outcome in taken.values()] == [
        (True, {}, ("10.96.0.0/12",)),
        (True, {}, ("fd00:96::/108",)),
    ]
    assert not any(outcome.moved for outcome in tracking.take().values())


def test_bytes_that_a_mode_does_not_count_are_left_out() -> None:
    text = service_metrics({ServicePortName("default", "web", "http"): Count(3, None)}).decode()
    assert [line.split("{")[0] for line in text.splitlines() if not line.startswith("#")] == [
        "sampan_proxy_service_connections_total"
    ]


WEB = ServicePortName("default", "web", "http")
WEB_CHAINS = {"KUBE-SVC-WEB": WEB, "KUBE-SVL-WEB": WEB}


def saved(**packets: int) -> list[str]:
    """What `iptables-save -c` prints of a Service with these endpoints, and of somebody else's chains."""
    return [
        *(f"[9:540] -A KUBE-SVC-WEB -m statistic --mode random -j KUBE-SEP-{name}" for name in packets),
        *(f"[{each}:60] -A KUBE-SEP-{name} -s 10.244.0.9/32 -j KUBE-MARK-MASQ" for name, each in packets.items()),
        *(
            f"[{each}:60] -A KUBE-SEP-{name} -p tcp -m tcp -j DNAT --to-destination 10.244.0.9:80"
            for name, each in packets.items()
        ),
        "[7:420] -A KUBE-SVC-OTHER -j KUBE-SEP-OTHER",
        "[7:420] -A KUBE-SEP-OTHER -p tcp -m tcp -j DNAT --to-destination 10.244.0.9:80",
    ]


def test_connections_in_iptables_mode_never_become_fewer() -> None:
    """Whether an endpoint goes, comes back, or is written anew: what was read before stays in the sum."""
    tally = Tally()
    readings = ({"A": 3, "B": 2}, {"A": 4}, {"A": 4, "B": 1}, {"A": 1, "B": 1}, {})
    assert [tally.read(saved(**each), WEB_CHAINS).get(WEB, 0) for each in readings] == [5, 6, 7, 8, 8]


def test_a_deleted_services_connections_are_forgotten() -> None:
    tally = Tally()
    tally.read(saved(A=3), WEB_CHAINS)
    assert tally.read([], {}) == {}
    assert tally.read(saved(A=1), WEB_CHAINS) == {WEB: 1}
