"""Ports that the configuration wants of the machine are taken before anything else, all of them or none."""

import socket

import msgspec
import pytest

from sampan.cluster.config import ClusterConfig, build
from sampan.cluster.hostports import PortTaken, bind, mappings, take


def config(*entries: dict[str, object]) -> ClusterConfig:
    return build({"nodes": [{"name": "edge", "extraPortMappings": list(entries)}, {}]})


def test_open_ports_are_filled_in_and_stay_the_same_after_a_stop() -> None:
    wanted = config({"containerPort": 80}, {"containerPort": 53, "protocol": "UDP", "listenAddress": "::1"})
    taken, sockets = take(wanted)
    ports = [one.getsockname()[1] for one in sockets]
    kinds = [(one.family, one.type) for one in sockets]
    assert kinds == [(socket.AF_INET, socket.SOCK_STREAM), (socket.AF_INET6, socket.SOCK_DGRAM)]
    found = mappings(taken)
    assert [one.host_port for one in found] == ports
    assert [(one.place, one.target) for one in found] == [
        (f"127.0.0.1:{ports[0]}", "node edge, port 80"),
        (f"[::1]:{ports[1]}", "node edge, port 53"),
    ]
    for one in sockets:
        one.close()
    again, sockets = take(msgspec.json.decode(msgspec.json.encode(taken), type=ClusterConfig))
    assert again == taken
    for one in sockets:
        one.close()


@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_a_port_that_is_taken_is_told_with_its_field_and_the_others_are_free_again(protocol: str) -> None:
    with bind("TCP", "127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    first = {"containerPort": 80, "hostPort": port}
    with bind(protocol, "127.0.0.1", 0) as taken:
        second = {"containerPort": 81, "hostPort": taken.getsockname()[1], "protocol": protocol}
        with pytest.raises(PortTaken) as refused:
            take(config(first, second))
    place = f"{second['hostPort']}/{protocol} of 127.0.0.1 cannot be used (Address already in use)"
    assert str(refused.value) == f"nodes[0].extraPortMappings[1].hostPort: port {place}"
    bind("TCP", "127.0.0.1", port).close()


def test_without_mappings_the_configuration_stays_as_it_is() -> None:
    plain = build({"nodes": 2})
    assert take(plain) == (plain, ())
