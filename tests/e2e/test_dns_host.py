"""A machine resolves the cluster's names when told to, and as before when told otherwise: by resolv.conf, and by the
real systemd-resolved."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from e2e_support import SAMPAN, eventually

from support import resolved
from support.machine import Machine, machine
from support.outsideworld import ANSWER

NAME = "hosted"
SERVER = "127.0.0.99"
SERVICE, ADDRESS = "kubernetes.default.svc.cluster.local", "10.96.0.1"
OUTSIDE = "www.outside.example"
BEFORE = f"# ours\nnameserver {SERVER}\n"
DROP_INS = "/run/systemd/resolved.conf.d"


@dataclass(frozen=True)
class World:
    machine: Machine
    environment: dict[str, str]
    without_resolved: str
    """Why systemd-resolved cannot be had, if so."""

    def sampan(self, *words: str, status: int = 0) -> str:
        return self.machine.run(SAMPAN, *words, "--name", NAME, status=status, environment=self.environment)

    def getent(self, name: str) -> str:
        """The address, or nothing if there is no such name."""
        told = self.machine.run("sh", "-c", f"getent ahostsv4 {name} || true")
        return told.split()[0] if told else ""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    if os.geteuid() != 0:
        pytest.fail("the end-to-end tests need root; `make test` prepares everything")
    home = tmp_path_factory.mktemp("hosted")
    (home / "etc").mkdir()
    try:
        usr, unavailable = resolved.unpack(home), ""
    except resolved.Unavailable as error:
        usr, unavailable = None, str(error)
    environment = {"SAMPAN_HOME": str(home / "state"), "KUBECONFIG": str(home / "kubeconfig")}
    with machine(home / "etc", usr) as made:
        made.write("/etc/resolv.conf", BEFORE)
        tests = {"PYTHONPATH": str(Path(__file__).parents[1])}
        made.start(sys.executable, "-m", "support.outsideworld", SERVER, str(home / "asked"), environment=tests)
        eventually((home / "asked").exists, "the machine's name server")
        found = World(made, environment, unavailable)
        found.sampan("up", "--nodes", "1")
        yield found
        found.sampan("down")


def assert_as_before(world: World) -> None:
    assert world.getent(SERVICE) == ""
    assert world.getent(OUTSIDE) == ANSWER


def test_a_line_in_resolv_conf_leads_to_the_clusters_names(world: World) -> None:
    assert_as_before(world)
    assert "resolve on this machine now, through /etc/resolv.conf" in world.sampan("dns", "enable-host")
    assert world.getent(SERVICE) == ADDRESS
    assert world.getent(OUTSIDE) == ANSWER
    assert "it is enabled already" in world.sampan("dns", "enable-host", status=1)
    assert "resolves names as before" in world.sampan("dns", "disable-host")
    assert world.machine.read("/etc/resolv.conf") == BEFORE
    assert_as_before(world)


def test_when_its_server_is_killed_the_machine_resolves_as_before_and_the_next_one_replaces_it(world: World) -> None:
    world.sampan("dns", "enable-host")
    world.machine.run("pkill", "-KILL", "-f", "[h]ost-Corefile")
    eventually(lambda: world.getent(OUTSIDE) == ANSWER, "names outside")
    world.sampan("dns", "enable-host")
    assert world.getent(SERVICE) == ADDRESS
    world.sampan("dns", "disable-host")
    assert world.machine.read("/etc/resolv.conf") == BEFORE


def test_systemd_resolved_asks_the_cluster_for_its_names_alone(world: World) -> None:
    with_resolved(world)
    assert_as_before(world)
    assert "through systemd-resolved" in world.sampan("dns", "enable-host")
    query = world.machine.run("resolvectl", "query", SERVICE)
    assert f"{SERVICE}: {ADDRESS}" in query
    assert world.getent(SERVICE) == ADDRESS
    for _ in range(5):
        assert world.getent(OUTSIDE) == ANSWER
    assert "not found" in world.machine.run("resolvectl", "query", "www.nowhere.example", status=1)
    world.sampan("dns", "disable-host")
    assert world.machine.run("ls", DROP_INS) == ""
    assert ADDRESS not in world.machine.run("resolvectl", "query", SERVICE, status=1)
    assert_as_before(world)


def test_stopping_the_cluster_undoes_it(world: World) -> None:
    with_resolved(world)
    world.sampan("dns", "enable-host")
    assert world.getent(SERVICE) == ADDRESS
    world.sampan("stop")
    assert world.machine.run("ls", DROP_INS) == ""
    assert world.machine.run("sh", "-c", "pgrep -f '[h]ost-Corefile' || true") == ""
    assert_as_before(world)


def with_resolved(world: World) -> None:
    """From the first test that needs it on, the machine's resolver is systemd-resolved."""
    if world.without_resolved:
        pytest.skip(world.without_resolved)
    if world.machine.read("/etc/resolv.conf") == BEFORE:
        resolved.start(world.machine, SERVER)
