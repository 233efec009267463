"""Links, addresses, routes and neighbours in namespaces made for the purpose, and the errors that name them."""

import os
import socket
from pathlib import Path

import pytest

from sampan.kernel import netns
from sampan.kernel.rtnetlink import (
    Neighbour,
    Request,
    Route,
    RouteSocket,
    add_address,
    add_bridge,
    add_route,
    add_veth,
    add_vxlan,
    append_forwarding,
    delete_link,
    delete_route,
    replace_neighbour,
    replace_route,
    set_link,
)
from support.isolated import isolated

pytestmark = pytest.mark.kernel


@isolated
async def test_a_veth_pair_joins_two_namespaces(tmp_path: Path) -> None:
    """Packets pass between both ends, addressed and routed as told, without any ARP."""
    there = tmp_path / "there"
    netns.create_network(there)
    handle = os.open(there, os.O_RDONLY)
    with RouteSocket() as here, RouteSocket(there) as inside:
        here.execute(add_veth("v0", "eth0", peer_netns=handle, mac="ee:ee:ee:ee:ee:01", peer_mac="0a:58:0a:09:00:02"))
        outer, inner = here.index("v0"), inside.index("eth0")
        here.execute(
            add_address(outer, "10.9.0.1/32"),
            add_route(Route("10.9.0.2/32", outer)),
            replace_neighbour(Neighbour(outer, "10.9.0.2", "0a:58:0a:09:00:02")),
        )
        inside.execute(
            set_link(inner, up=True),
            add_address(inner, "10.9.0.2/32"),
            add_route(Route("0.0.0.0/0", inner, via="10.9.0.1", onlink=True)),
        )
        assert inside.addresses(inner)[0].address == "10.9.0.2/32"
        assert [(one.destination, one.via) for one in inside.routes()] == [("0.0.0.0/0", "10.9.0.1")]
        server = netns.run_in(there, lambda: socket.create_server(("10.9.0.2", 80)))
        with server, socket.create_connection(("10.9.0.2", 80), timeout=5) as client:
            assert client.getsockname()[0] == "10.9.0.1"
        here.execute(delete_link("v0"))
        assert inside.link("eth0") is None
    os.close(handle)
    netns.delete(there)


@isolated
async def test_bridges_and_vxlan_have_the_attributes_asked_for(tmp_path: Path) -> None:
    with RouteSocket() as here:
        here.execute(add_bridge("br0", mtu=1400), add_veth("a", "b"))
        here.execute(set_link("a", master=here.index("br0")))
        here.execute(add_vxlan("vx0", 7, local="10.2.2.10", mac="02:00:00:00:00:07", mtu=1450))
        vxlan = here.link("vx0")
        assert vxlan is not None
        assert (vxlan.kind, vxlan.mac, vxlan.mtu, vxlan.up) == ("vxlan", "02:00:00:00:00:07", 1450, True)
        here.execute(append_forwarding(Neighbour(vxlan.index, "10.2.2.11", "02:00:00:00:00:08")))
        joined = here.link("a")
        assert joined is not None
        assert joined.master == here.index("br0")
        here.execute(set_link("a", master=0), set_link(joined.index, up=False))
        here.execute(set_link(joined.index, name="renamed"))
        renamed = here.link(joined.index)
        assert renamed is not None
        assert (renamed.name, renamed.master, renamed.up) == ("renamed", 0, False)


@isolated
async def test_an_interface_moves_to_another_namespace(tmp_path: Path) -> None:
    netns.create_network(tmp_path / "there")
    handle = os.open(tmp_path / "there", os.O_RDONLY)
    with RouteSocket() as here, RouteSocket(tmp_path / "there") as inside:
        here.execute(add_veth("a", "b"), set_link("b", netns_fd=handle))
        assert here.link("b") is None
        assert inside.link("b") is not None
    os.close(handle)
    netns.delete(tmp_path / "there")


@isolated
async def test_routes_are_replaced_and_deleted(tmp_path: Path) -> None:
    with RouteSocket() as here:
        here.execute(add_route(Route("10.50.0.0/24", via="10.2.2.11")))
        here.execute(replace_route(Route("10.50.0.0/24", via="10.2.2.12")))
        assert [one.via for one in here.routes() if one.destination == "10.50.0.0/24"] == ["10.2.2.12"]
        here.execute(delete_route(Route("10.50.0.0/24")))
        assert all(one.destination != "10.50.0.0/24" for one in here.routes())


@isolated
async def test_errors_are_oserrors_with_the_kernels_words(tmp_path: Path) -> None:
    cases: tuple[tuple[Request, type[OSError], str], ...] = (
        (add_bridge("node0"), FileExistsError, "File exists"),
        (delete_link("nothing"), OSError, "No such device"),
        (add_address(999, "10.1.1.1/32"), OSError, "ipv4: Device not found"),
        (add_route(Route("10.9.9.0/24", via="192.0.2.1")), OSError, "Nexthop has invalid gateway"),
    )
    with RouteSocket() as here:
        for request, kind, words in cases:
            with pytest.raises(kind, match=words):
                here.execute(request)
        with pytest.raises(FileNotFoundError):
            here.index("nothing")
        here.execute(delete_link("nothing"), ignore=(19,))


@isolated
async def test_a_failing_request_does_not_stop_those_after_it(tmp_path: Path) -> None:
    with RouteSocket() as here:
        with pytest.raises(FileExistsError):
            here.execute(add_bridge("node0"), add_bridge("after"))
        assert here.link("after") is not None
