"""Namespaces kept by files: made, entered, deleted, and nothing left when making them fails."""

import os
import socket
from pathlib import Path

import pytest

from sampan.kernel import libc, mounts, netns
from support.isolated import isolated

pytestmark = pytest.mark.kernel


@isolated
async def test_namespaces_live_until_deleted(tmp_path: Path) -> None:
    paths = {kind: tmp_path / kind for kind in ("net", "ipc", "uts")}
    before = os.readlink("/proc/thread-self/ns/net")
    name = netns.create(paths, lambda: (libc.sethostname("inside"), socket.gethostname())[1])
    assert name == "inside"
    assert socket.gethostname() != "inside"
    assert os.readlink("/proc/thread-self/ns/net") == before
    assert all(netns.exists(path) for path in paths.values())
    assert netns.run_in(paths["net"], lambda: [name for _, name in socket.if_nameindex()]) != []
    for path in (*paths.values(), *paths.values()):
        netns.delete(path)
    assert mounts.below(tmp_path) == []
    assert os.listdir(tmp_path) == []


@isolated
async def test_nothing_is_left_when_filling_a_namespace_fails(tmp_path: Path) -> None:
    def fail() -> None:
        raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        netns.create({"net": tmp_path / "net"}, fail)
    assert os.listdir(tmp_path) == []


@isolated
async def test_a_file_without_a_namespace_is_none(tmp_path: Path) -> None:
    (tmp_path / "net").touch()
    assert not netns.exists(tmp_path / "net")
    assert not netns.exists(tmp_path / "missing")


@isolated
async def test_leaving_a_namespace_is_sure_even_after_an_error(tmp_path: Path) -> None:
    netns.create_network(tmp_path / "net")
    before = os.readlink("/proc/thread-self/ns/net")
    with pytest.raises(ZeroDivisionError):
        netns.run_in(tmp_path / "net", lambda: 1 // 0)
    assert os.readlink("/proc/thread-self/ns/net") == before
    netns.delete(tmp_path / "net")
