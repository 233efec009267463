"""Modes exchanged while the proxy runs: connections go on, new ones are never refused, and nothing is left behind."""

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sampan.client.config import Config
from sampan.proxy.backends.interface import BackendError
from sampan.proxy.backends.ipvs import backend as ipvs_backend
from sampan.proxy.backends.registry import BACKENDS
from sampan.proxy.metrics import Metrics
from sampan.proxy.modes import ModeSwitch, make_backends
from sampan.proxy.options import ModeFile, ProxyOptions
from sampan.proxy.syncer import Syncer
from sampan.proxy.tracker import Tracker
from support.proxycases import EVERYWHERE, HERE, Case, service, slice_
from support.proxyworld import NODE, World, world

pytestmark = pytest.mark.kernel

CLUSTER_IP = ("10.96.0.50", 80)


def options(mode: str, **more: object) -> ProxyOptions:
    return ProxyOptions(
        node_name=HERE,
        node_ips=tuple(NODE.values()),
        config=Config(server="https://unused"),
        mode=mode,
        cluster_cidr="10.244.0.0/16,fd00:244::/32",
        **more,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def the_world() -> Iterator[World]:
    with world() as made:
        yield made


@pytest.fixture(scope="module")
def modes(the_world: World) -> list[str]:
    """What this kernel can do."""

    def supported(mode: str) -> bool:
        try:
            backends = make_backends(options(mode))
        except BackendError:
            return False
        for backend in backends.values():
            backend.close()
        return True

    return [mode for mode in BACKENDS if the_world.inside("node", lambda mode=mode: supported(mode))]


def start(where: World, mode: str, protocol: str = "TCP") -> tuple[Syncer, ModeSwitch]:
    tracker = Tracker(HERE, (4, 6), tuple(NODE.values()))
    case = Case("steady", "pod", "cluster-ip", protocol=protocol)
    tracker.service_changed(None, service(case, 4))
    tracker.slice_changed(None, slice_(case, 4))
    syncer = Syncer(tracker, where.inside("node", lambda: make_backends(options(mode))), Metrics())
    assert where.on_node(syncer.sync)
    return syncer, ModeSwitch(options(mode), syncer)


def tour(modes: list[str]) -> list[str]:
    """A way through the modes that changes from each to each other."""
    steps = [modes[0]]
    left = set(itertools.permutations(modes, 2))
    while left:
        following = next((pair for pair in sorted(left) if pair[0] == steps[-1]), None) or min(left)
        if following[0] != steps[-1]:
            steps.append(following[0])
            continue
        left.discard(following)
        steps.append(following[1])
    return steps


def test_established_connections_survive_every_change_of_mode(the_world: World, modes: list[str]) -> None:
    """A connection made in any mode goes on through every other; new ones are answered by all endpoints throughout."""
    steps = tour(modes)
    syncer, switch = start(the_world, steps[0])
    open_connections = []
    stop = threading.Event()
    failures: list[BaseException] = []
    client = threading.Thread(target=ask_on, args=(the_world, stop, failures))
    client.start()
    try:
        for mode in steps:
            the_world.on_node(lambda mode=mode: switch.switch(mode))
            assert switch.mode == mode
            open_connections += [the_world.connect(origin, CLUSTER_IP) for origin in ("pod", "node")]
            for sock in open_connections:
                assert the_world.ask_again(sock)[0] in EVERYWHERE, f"in mode {mode}"
            assert {the_world.ask("pod", CLUSTER_IP)[0] for _ in range(30)} == set(EVERYWHERE)
    finally:
        stop.set()
        client.join()
        for sock in open_connections:
            sock.close()
        the_world.inside("node", syncer.close)
    assert not failures


def test_a_udp_client_goes_on_through_every_change_of_mode(the_world: World, modes: list[str]) -> None:
    """One socket, never silent for long: in every mode its flow leads to an endpoint; none is lost with a listener."""
    steps = tour(modes)
    syncer, switch = start(the_world, steps[0], protocol="UDP")
    with the_world.connect("pod", CLUSTER_IP, "UDP") as sock:
        for mode in steps:
            the_world.on_node(lambda mode=mode: switch.switch(mode))
            for _ in range(3):
                assert the_world.ask_again(sock)[0] in EVERYWHERE, f"in mode {mode}"
    the_world.inside("node", syncer.close)


def ask_on(where: World, stop: threading.Event, failures: list[BaseException]) -> None:
    while not stop.is_set():
        try:
            where.ask("pod", CLUSTER_IP)
        except BaseException as error:
            failures.append(error)


def test_a_change_removes_what_the_former_mode_made(the_world: World, modes: list[str]) -> None:
    """Each mode's rules are gone when another is in force; strangers' rules stay."""
    the_world.sh("node", "nft add table ip strangers; iptables -N STRANGERS")
    listings: dict[str, str] = {}
    syncer, switch = start(the_world, modes[0])
    for mode in (*modes, modes[0]):
        the_world.on_node(lambda mode=mode: switch.switch(mode))
        found = the_world.sh("node", "nft list tables; iptables-save; ip -o link")
        assert "strangers" in found
        assert "STRANGERS" in found
        listings[mode] = found
        assert ("table ip sampan-proxy\n" in found) == (mode == "nftables")
        assert ("sampan-proxy-userspace" in found) == (mode == "userspace")
        assert ("KUBE-SEP" in found) == (mode == "iptables")
    the_world.inside("node", syncer.close)


@pytest.mark.parametrize("wanted", ["no-such-mode", ""])
def test_a_mode_that_cannot_be_changes_nothing(the_world: World, wanted: str) -> None:
    syncer, switch = start(the_world, "nftables")
    with pytest.raises(BackendError, match="unknown proxy mode"):
        the_world.on_node(lambda: switch.switch(wanted))
    assert switch.mode == "nftables"
    assert the_world.ask("pod", CLUSTER_IP)[0] in EVERYWHERE
    the_world.inside("node", syncer.close)


def test_the_mode_file_is_followed_and_answered(
    the_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writing the file switches; the answer names the mode in force and, if it is another, why.

    Without IPVS, a change to it ends where a start would: in the iptables mode.
    """
    monkeypatch.setattr(ipvs_backend, "unsupported", lambda *_, **__: "the kernel has no IPVS (module ip_vs)")
    file = ModeFile(tmp_path / "mode", answer=tmp_path / "answer")
    syncer, _ = start(the_world, "nftables")

    async def scenario() -> None:
        switch = ModeSwitch(options("nftables", mode_file=file), syncer)
        following = asyncio.create_task(switch.run())
        await until(lambda: file.answer is not None and file.answer.exists())
        for wanted, expected in (
            ("userspace", "userspace\n\n"),
            ("nonsense", "userspace\nunknown proxy mode 'nonsense'"),
            ("ipvs", "iptables\nCan't use the ipvs proxier, using the iptables proxier: the kernel has no IPVS"),
            ("nftables", "nftables\n\n"),
        ):
            file.path.write_text(wanted + "\n")
            await until(lambda expected=expected: (tmp_path / "answer").read_text().startswith(expected))
        following.cancel()

    the_world.inside("node", lambda: asyncio.run(scenario()))
    assert the_world.ask("pod", CLUSTER_IP)[0] in EVERYWHERE
    the_world.inside("node", syncer.close)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)
