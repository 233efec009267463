"""A cluster that the machine itself is to reach is refused where the machine uses such addresses already."""

from ipaddress import IPv4Network

import pytest

from sampan.cluster.config import build
from sampan.cluster.hostnetwork import UsedNetwork, conflicts

CONFIG = build({"hostNetwork": True})
OURS = "sampan-00000001"


def refusals(network: str, use: str = "route", interface: str = "tun0") -> list[str]:
    return list(conflicts(CONFIG, [UsedNetwork(IPv4Network(network), use, interface)], {OURS: "dev"}))


@pytest.mark.parametrize(
    "network", ["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "192.168.1.0/24", "10.3.0.0/16", "127.0.0.0/8"]
)
def test_default_routes_also_halved_and_other_networks_are_no_conflict(network: str) -> None:
    assert refusals(network) == []


@pytest.mark.parametrize(
    ("network", "use", "message"),
    [
        ("10.244.0.0/16", "route", "network.pods 10.244.0.0/16: this machine has a route in 10.244.0.0/16 (tun0)"),
        ("10.244.3.7/32", "route", "network.pods 10.244.0.0/16: this machine has a route in 10.244.3.7/32 (tun0)"),
        ("10.2.2.0/24", "address", "network.nodes 10.2.2.0/24: this machine has an address in 10.2.2.0/24 (tun0)"),
        ("10.96.0.0/11", "route", "network.services 10.96.0.0/12: this machine has a route in 10.96.0.0/11 (tun0)"),
    ],
)
def test_a_route_or_an_address_that_overlaps_is_named_with_the_range_and_what_to_do(
    network: str, use: str, message: str
) -> None:
    (refusal,) = refusals(network, use)
    assert message in refusal
    assert "choose another range with --config" in refusal


def test_a_route_wider_than_all_ranges_conflicts_with_each() -> None:
    assert [one.split()[1] for one in refusals("10.0.0.0/8")] == ["network.nodes", "network.pods", "network.services"]


def test_another_cluster_is_called_by_its_name() -> None:
    (refusal,) = refusals("10.96.0.0/12", interface=OURS)
    assert "cluster 'dev' has brought 10.96.0.0/12 to this machine already" in refusal
