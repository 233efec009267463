"""Programs of this machine in an image's stead: the user's own aliases, and a busybox that is nothing but busybox."""

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from sampan.node.images import busybox
from sampan.node.images.registry import Registry
from sampan.node.images.store import ImageStore
from sampan.node.images.types import ImageError, ImagePullError
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


@isolated
async def test_an_alias_of_the_users_own_comes_before_the_registry(tmp_path: Path) -> None:
    store = ImageStore(tmp_path)
    (tmp_path / "aliases.yaml").write_text("- {names: [10.2.2.10:5000/myblog], program: sh, command: [sh, -c, exit]}")
    image = await store.ensure("10.2.2.10:5000/myblog:v1", policy="Always")
    assert (image.reference, image.config.command) == ("10.2.2.10:5000/myblog:v1", ("sh", "-c", "exit"))
    assert store.find("10.2.2.10:5000/myblog:v1") == image


@isolated
async def test_an_image_that_its_registry_refuses_stays_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is asked for: a built-in alias is for registries that are not there."""

    async def not_found(registry: Registry) -> None:
        raise ImagePullError("docker.io/library/nginx:0.0: not found")

    monkeypatch.setattr(Registry, "manifest", not_found)
    store = ImageStore(tmp_path)
    for _ in range(2):
        with pytest.raises(ImagePullError, match="not found"):
            await store.ensure("nginx:0.0")
        assert store.find("nginx:0.0") is None


@isolated
async def test_a_damaged_table_of_aliases_is_the_images_error(tmp_path: Path) -> None:
    (tmp_path / "aliases.yaml").write_text("- {names: nginx}")
    with pytest.raises(ImageError, match=r"aliases\.yaml: Expected `array`"):
        await ImageStore(tmp_path).ensure("nginx")
