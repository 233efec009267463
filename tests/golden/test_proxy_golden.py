"""Every mode's text for a state that has everything, as golden files that the mode's own program accepts.

`SAMPAN_UPDATE_GOLDEN=1 pytest tests/golden` writes them anew.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sampan.api.core_v1 import LoadBalancerIngress, LoadBalancerStatus, Service, ServicePort, ServiceSpec, ServiceStatus
from sampan.api.discovery_v1 import EndpointConditions, EndpointPort
from sampan.api.meta_v1 import ObjectMeta
from sampan.client.config import Config
from sampan.proxy.backends.registry import BACKENDS
from sampan.proxy.objects import SERVICE_NAME, Slice, SliceEndpoint
from sampan.proxy.options import ProxyOptions
from sampan.proxy.tracker import Tracker

HERE = Path(__file__).parent
NO_STATUS = ServiceStatus()
READY = EndpointConditions(ready=True)

OPTIONS = ProxyOptions(
    node_name="node-1",
    node_ips=("10.2.2.10", "fd00:2::10"),
    config=Config(server="https://unused"),
    cluster_cidr="10.244.0.0/16,fd00:244::/56",
)


def tracked() -> Tracker:
    """A dual-stack load balancer with every policy, a sticky UDP Service, and one without endpoints."""
    tracker = Tracker("node-1", (4, 6), OPTIONS.node_ips)
    ingress = (LoadBalancerIngress(ip="203.0.113.9"), LoadBalancerIngress(ip="2001:db8::9"))
    add(
        tracker, "web", 1, ServicePort(name="http", port=80, node_port=30080), ("10.244.0.11", "10.244.1.11"),
        ServiceStatus(load_balancer=LoadBalancerStatus(ingress=ingress)),
        type="LoadBalancer", external_traffic_policy="Local", external_ips=("198.51.100.1",),
        load_balancer_source_ranges=("192.0.2.0/24", "2001:db8:1::/48"),
    )  # fmt: skip
    add(
        tracker, "dns", 2, ServicePort(name="dns", protocol="UDP", port=53),
        ("10.244.0.12", "10.244.0.13", "10.244.1.12"),
        session_affinity="ClientIP",
    )  # fmt: skip
    add(tracker, "empty", 3, ServicePort(port=80, node_port=30081), (), type="NodePort")
    return tracker


def add(
    tracker: Tracker, name: str, number: int, port: ServicePort, ips: tuple[str, ...],
    status: ServiceStatus = NO_STATUS, **spec: object,
) -> None:  # fmt: skip
    addresses = (f"10.96.0.{number}", f"fd00:96::{number}")
    made = ServiceSpec(ports=(port,), cluster_ip=addresses[0], cluster_ips=addresses, **spec)  # type: ignore[arg-type]
    tracker.service_changed(
        None, Service(metadata=ObjectMeta(name=name, namespace="default"), spec=made, status=status)
    )
    for family in (4, 6):
        endpoints = [(ip if family == 4 else "fd00:244::" + ip.replace(".", ":"), ip) for ip in ips]
        tracker.slice_changed(
            None,
            Slice(
                metadata=ObjectMeta(name=f"{name}-{family}", namespace="default", labels={SERVICE_NAME: name}),
                address_type=f"IPv{family}",
                ports=(EndpointPort(name=port.name, port=8080, protocol=port.protocol),),
                endpoints=tuple(
                    SliceEndpoint(
                        addresses=(address,),
                        conditions=READY,
                        node_name="node-1" if ip.startswith("10.244.0.") else "node-2",
                    )
                    for address, ip in endpoints
                ),
            ),
        )


CHECKERS = {
    ("nftables", 4): ("nft", "--check", "-f"),
    ("nftables", 6): ("nft", "--check", "-f"),
    ("iptables", 4): ("iptables-restore", "--test"),
    ("iptables", 6): ("ip6tables-restore", "--test"),
    ("ipvs", 4): (sys.executable, str(HERE.parent / "support/ipvscheck.py")),
    ("ipvs", 6): (sys.executable, str(HERE.parent / "support/ipvscheck.py")),
    ("userspace", 4): ("nft", "--check", "-f"),
    ("userspace", 6): ("nft", "--check", "-f"),
}
"""The mode's own program, asked whether it would accept the file."""


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("mode", list(BACKENDS))
def test_the_rules_are_as_recorded(mode: str, family: int) -> None:
    """A reader sees what a Service becomes, and a reviewer what a change does to it."""
    golden = HERE / f"proxy_{mode}_ipv{family}.txt"
    text = BACKENDS[mode](OPTIONS, family).render(tracked().take()[family].state)
    if os.environ.get("SAMPAN_UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.kernel
@pytest.mark.parametrize(("mode", "family"), list(CHECKERS))
def test_the_real_program_accepts_what_is_recorded(mode: str, family: int) -> None:
    checker = CHECKERS[mode, family]
    if os.geteuid() != 0 or not shutil.which(checker[0]):
        pytest.skip(f"needs root and {checker[0]}")
    golden = HERE / f"proxy_{mode}_ipv{family}.txt"
    done = subprocess.run(["unshare", "-n", *checker, str(golden)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_mode_has_a_checker() -> None:
    assert {mode for mode, _ in CHECKERS} == set(BACKENDS)
