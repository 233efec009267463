"""The image `busybox` where there is no registry: the machine's static busybox as a root of its own."""

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from sampan.node.images import busybox
from sampan.node.images.store import ImageStore
from support.isolated import isolated

pytestmark = pytest.mark.kernel


@isolated
async def test_the_image_busybox_is_the_machines_busybox_and_nothing_else(tmp_path: Path) -> None:
    """Made once for all stores of a directory, and again when the program has changed."""
    stores = [ImageStore(tmp_path / "store") for _ in range(2)]
    first, second = await asyncio.gather(*(store.ensure("busybox:1.28") for store in stores))
    assert first.layers == second.layers
    [root] = first.layers
    assert (first.hidden, first.mounts) == ((), ())
    assert {entry.name for entry in root.iterdir()} == {"bin", "etc", "home", "root", "tmp", "usr", "var"}
    programs = {entry.name for entry in (root / "bin").iterdir()}
    assert {"sh", "wget", "nslookup", "ping", "httpd"} <= programs
    assert not {"bash", "curl", "python3"} & programs
    asked = ("chroot", root, "/usr/bin/env", "-i", "/bin/sh", "-c", "echo $(id -un) in $(pwd)")
    assert subprocess.run(asked, capture_output=True, text=True, check=True).stdout == "root in /\n"


def test_a_busybox_that_needs_libraries_cannot_be_alone(tmp_path: Path) -> None:
    assert busybox.is_static("/bin/busybox")
    assert not busybox.is_static("/bin/ls")


def test_a_root_is_made_anew_for_another_busybox(tmp_path: Path) -> None:
    program = tmp_path / "busybox"
    shutil.copy("/bin/busybox", program)
    before = busybox.root_of(str(program), tmp_path / "roots")
    assert busybox.root_of(str(program), tmp_path / "roots") == before
    os.utime(program, (1, 1))
    assert busybox.root_of(str(program), tmp_path / "roots") != before
    assert len(list((tmp_path / "roots").iterdir())) == 2, "nothing half-made stays"
