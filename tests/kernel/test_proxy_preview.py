"""Previews of every mode against the kernel: a diff tells what a proxy would change, and cleaning up is whole."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.client.config import Config
from sampan.kernel import netns
from sampan.proxy import preview
from sampan.proxy.backends.interface import Backend
from sampan.proxy.backends.registry import BACKENDS
from sampan.proxy.modes import cleanup
from sampan.proxy.options import ProxyOptions
from sampan.proxy.state import Endpoint, ServicePort, ServicePortName, State
from support.isolated import NODE_IP, isolated

pytestmark = pytest.mark.kernel

WEB = ServicePortName("default", "web", "http")
ONE, TWO = Endpoint("10.244.0.1", 8080), Endpoint("10.244.0.2", 8080)

TAMPERING = {
    "nftables": "nft flush chain ip sampan-proxy cluster-ip",
    "iptables": "iptables -t nat -F KUBE-NODEPORTS",
    "userspace": "nft flush chain ip sampan-proxy-userspace spread",
}
"""What somebody else might do to a mode's rules."""


def options(mode: str) -> ProxyOptions:
    return ProxyOptions(node_name="node-1", node_ips=(NODE_IP,), config=Config(server=""), mode=mode)


def state(*endpoints: Endpoint) -> State:
    port = ServicePort(
        protocol="TCP", port=80, node_port=30080, cluster_ip="10.96.0.1", has_endpoints=True, endpoints=endpoints,
        cluster_endpoints=endpoints,
    )  # fmt: skip
    return State(family=4, node_ips=(NODE_IP,), ports={WEB: port})


async def sh(command: str) -> str:
    process = await asyncio.create_subprocess_shell(command, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0, command
    return output.decode()


def supported() -> Iterator[str]:
    return (mode for mode in BACKENDS if not BACKENDS[mode](options(mode), 4).is_supported())


@pytest.mark.parametrize("mode", list(supported()))
def test_a_difference_is_exactly_what_a_proxy_would_change(mode: str) -> None:
    """Everything at first; nothing once the rules stand; then one endpoint, or what somebody else has changed."""

    @isolated
    async def scenario() -> None:
        backend: Backend = BACKENDS[mode](options(mode), 4)
        first = await preview.difference(options(mode), {4: state(ONE)})
        assert any("10.96.0.1" in line for line in first)
        assert not [line for line in first if line.startswith("-") and not line.startswith("---")]
        await backend.apply(state(ONE), None)
        if mode != "userspace":
            assert await preview.difference(options(mode), {4: state(ONE)}) == []
            changed = await preview.difference(options(mode), {4: state(ONE, TWO)})
            assert any(line.startswith("+") and "10.244.0.2" in line for line in changed)
        if mode in TAMPERING:
            await sh(TAMPERING[mode])
            assert await preview.difference(options(mode), {4: state(ONE)})
        backend.close()

    scenario()


def test_a_difference_tells_of_other_modes_rules() -> None:
    """They will go."""

    @isolated
    async def scenario() -> None:
        backend = BACKENDS["nftables"](options("nftables"), 4)
        await backend.apply(state(ONE), None)
        lines = await preview.difference(options("iptables"), {4: state(ONE)})
        assert any(line.startswith("-services: 10.96.0.1") for line in lines)
        assert any(line.startswith("+") and "KUBE-SVC" in line for line in lines)
        backend.close()

    scenario()


def test_a_preview_touches_nothing() -> None:
    @isolated
    async def scenario() -> None:
        before = await sh("nft list ruleset; iptables-save; ip -o link; ip -o addr")
        for mode in supported():
            assert preview.rendered(options(mode), {4: state(ONE)}).startswith(f"# {mode}, IPv4\n")
            await preview.difference(options(mode), {4: state(ONE)})
        assert await sh("nft list ruleset; iptables-save; ip -o link; ip -o addr") == before

    scenario()


def test_cleanup_removes_what_every_mode_left_and_nothing_else() -> None:
    """All modes' rules at once, and a stranger's."""

    @isolated
    async def scenario() -> None:
        await sh("nft add table ip strangers; iptables -t nat -N STRANGERS; iptables -N KUBERNETES-NOT")
        before = rules(await sh("nft list tables; iptables-save"))
        for mode in supported():
            backend = BACKENDS[mode](options(mode), 4)
            await backend.apply(state(ONE), None)
            backend.close()
        assert rules(await sh("nft list tables; iptables-save")) != before
        assert all([await cleanup(options(mode), mode) for mode in BACKENDS])
        assert rules(await sh("nft list tables; iptables-save")) == before

    scenario()


def rules(listing: str) -> list[str]:
    """What counts: not comments, not the built-in chains' tables that tools create by looking."""
    return sorted(
        line for line in listing.splitlines() if "strangers" in line or "STRANGERS" in line or "KUBE" in line
        or "sampan" in line
    )  # fmt: skip


def test_a_preview_leaves_no_namespace_behind(tmp_path: Path) -> None:
    @isolated
    async def scenario() -> None:
        here = Path("/proc/thread-self/ns/net").readlink()
        await preview.difference(options("nftables"), {4: state(ONE)})
        assert Path("/proc/thread-self/ns/net").readlink() == here
        assert not netns.exists(tmp_path / "none")

    scenario()
