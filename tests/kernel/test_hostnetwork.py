"""The veth pair between a machine and a box: whole or not there, and only where nothing is in its way."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sampan.cluster import hostnetwork
from sampan.cluster.config import build
from sampan.cluster.hostnetwork import BOX_LINK, HostNetworkError
from sampan.cluster.paths import ClusterPaths
from sampan.kernel import rtnetlink
from sampan.kernel.rtnetlink import Route, RouteSocket
from support.isolated import isolated

CONFIG = build(
    {"hostNetwork": True, "network": {"nodes": "172.30.0.0/24", "pods": "172.31.0.0/16", "services": "172.29.0.0/16"}}
)


def links() -> list[str]:
    with RouteSocket() as routes:
        return sorted(link.name for link in routes.links())


def destinations() -> list[str]:
    with RouteSocket() as routes:
        return sorted(route.destination for route in routes.routes())


@asynccontextmanager
async def box() -> AsyncIterator[int]:
    """The pid of a process with a network of its own, in which the gateway has its address."""
    holder = await asyncio.create_subprocess_exec("unshare", "--net", "sleep", "infinity")
    try:
        while os.path.samefile(f"/proc/{holder.pid}/ns/net", "/proc/self/ns/net"):
            await asyncio.sleep(0.01)
        with RouteSocket(f"/proc/{holder.pid}/ns/net") as inside:
            inside.execute(rtnetlink.set_link(1, up=True), rtnetlink.add_address(1, f"{CONFIG.gateway}/32"))
        yield holder.pid
    finally:
        if holder.returncode is None:
            holder.kill()
        await holder.wait()


@isolated
async def test_the_machine_and_the_box_reach_each_other_until_the_pair_is_removed(tmp_path: Path) -> None:
    paths, before = ClusterPaths(tmp_path, "dev"), (links(), destinations())
    async with box() as pid:
        hostnetwork.create(CONFIG, paths, pid)
        assert hostnetwork.exists(paths)
        assert set(destinations()) - set(before[1]) == {
            "172.30.0.1/32",
            "172.30.0.0/24",
            "172.31.0.0/16",
            "172.29.0.0/16",
        }
        ping = await asyncio.create_subprocess_exec("ping", "-q", "-c", "1", "-W", "5", CONFIG.gateway)
        assert await ping.wait() == 0
        hostnetwork.create(CONFIG, paths, pid)  # as after a kill: in the place of what is there
        hostnetwork.remove(paths)
        assert (links(), destinations()) == before
        hostnetwork.remove(paths)


@isolated
async def test_what_cannot_be_made_whole_is_not_left_in_part(tmp_path: Path) -> None:
    """As when another cluster was quicker after both had checked."""
    paths = ClusterPaths(tmp_path, "dev")
    async with box() as pid:
        with RouteSocket() as routes:
            routes.execute(rtnetlink.add_route(Route(CONFIG.network.services, routes.index("node0"))))
        with pytest.raises(FileExistsError, match=r"add route 172\.29"):
            hostnetwork.create(CONFIG, paths, pid)
        assert not hostnetwork.exists(paths)
        with RouteSocket(f"/proc/{pid}/ns/net") as inside:
            assert inside.link(BOX_LINK) is None


@isolated
async def test_routes_of_any_table_and_addresses_are_in_the_way_but_not_what_the_cluster_itself_has_left(
    tmp_path: Path,
) -> None:
    paths, other = ClusterPaths(tmp_path, "dev"), ClusterPaths(tmp_path, "other")
    async with box() as pid:
        hostnetwork.check(CONFIG, paths)
        hostnetwork.create(CONFIG, paths, pid)
        hostnetwork.check(CONFIG, paths)
        paths.directory.mkdir(parents=True)
        with pytest.raises(HostNetworkError, match=r"cluster 'dev' has brought 172\.31\.0\.0/16"):
            hostnetwork.check(CONFIG, other)
        hostnetwork.remove(paths)
        with RouteSocket() as routes:
            node = routes.index("node0")
            routes.execute(rtnetlink.add_route(Route("172.31.9.0/24", node, table=52)))
        with pytest.raises(HostNetworkError, match=r"network\.pods 172\.31\.0\.0/16: this machine has a route"):
            hostnetwork.check(CONFIG, paths)
        with RouteSocket() as routes:
            routes.execute(rtnetlink.delete_route(Route("172.31.9.0/24", node, table=52)))
            routes.execute(rtnetlink.add_address(node, "172.30.0.77/32"))
        with pytest.raises(HostNetworkError, match=r"network\.nodes 172\.30\.0\.0/24: this machine has an address"):
            hostnetwork.check(CONFIG, paths)
        hostnetwork.check(build({}), paths)
