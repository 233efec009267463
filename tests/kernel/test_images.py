"""Layers unpacked for overlayfs, hostile archives refused, images loaded, pulled, named and removed."""

import base64
import gzip
import hashlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sampan.http.messages import Response
from sampan.http.server import Request, serve
from sampan.node.images.layers import OPAQUE, unpack
from sampan.node.images.store import ImageStore
from sampan.node.images.types import (
    BadImageArchive,
    Credentials,
    ImageInUse,
    ImageNeverPull,
    ImagePullError,
    RegistryUnreachable,
)
from sampan.node.rootfs import mount_rootfs, unmount_rootfs
from support.isolated import isolated

pytestmark = pytest.mark.kernel


def layer(*members: tuple[str, str, str]) -> bytes:
    """A tar archive of (kind, name, content or target)."""
    kinds = {"file": tarfile.REGTYPE, "dir": tarfile.DIRTYPE, "link": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE}
    kinds |= {"device": tarfile.CHRTYPE}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for kind, name, content in members:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = kinds[kind], 0o755
            if kind == "file":
                entry.size = len(content)
            else:
                entry.linkname = content
            archive.addfile(entry, io.BytesIO(content.encode()))
    return buffer.getvalue()


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def put(data: bytes, directory: Path) -> Path:
    return unpack(io.BytesIO(data), digest(data), directory)


def configuration(layers: Sequence[bytes], **config: Any) -> bytes:
    diff_ids = [digest(one) for one in layers]
    return json.dumps({"config": config, "rootfs": {"type": "layers", "diff_ids": diff_ids}}).encode()


def docker_archive(path: Path, tag: str, layers: Sequence[bytes], **config: Any) -> Path:
    parts = {"config.json": configuration(layers, **config)}
    parts |= {f"{number}/layer.tar": data for number, data in enumerate(layers)}
    manifest = [{"Config": "config.json", "RepoTags": [tag], "Layers": [name for name in parts if "/" in name]}]
    parts["manifest.json"] = json.dumps(manifest).encode()
    with tarfile.open(path, "w:gz") as archive:
        for name, data in parts.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


BASE = layer(("dir", "etc", ""), ("file", "etc/old", "old"), ("dir", "data", ""), ("file", "data/a", "a"))
UPPER = layer(("file", "etc/.wh.old", ""), ("file", "data/.wh..wh..opq", ""), ("file", "data/b", "b"))


@isolated
async def test_whiteouts_hide_what_lower_layers_have(tmp_path: Path) -> None:
    store = ImageStore(tmp_path / "store")
    [image] = await store.load(docker_archive(tmp_path / "a.tar.gz", "app:1", [BASE, UPPER], Cmd=["run"]))
    root = mount_rootfs(image, tmp_path / "root")
    assert os.listdir(root / "etc") == []
    assert os.listdir(root / "data") == ["b"]
    unmount_rootfs(tmp_path / "root")
    assert not os.path.exists(tmp_path / "root")
    assert stat.S_ISCHR(os.lstat(image.layers[0] / "etc/old").st_mode)
    assert os.getxattr(image.layers[0] / "data", OPAQUE) == b"y"


@isolated
async def test_hostile_layers_never_write_outside(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    os.mkdir(outside)
    cases = {
        "parent in a name": (("file", "../outside/x", "evil"),),
        "parent within a name": (("file", "a/../../outside/x", "evil"),),
        "hard link outwards": (("hard", "x", "../outside"),),
        "hard link to nothing": (("hard", "x", "etc/passwd"),),
        "link loop": (("link", "a", "b"), ("link", "b", "a"), ("file", "a/x", "evil")),
        "whiteout of the parent": (("dir", "x", ""), ("file", ".wh...", "")),
        "whiteout of a directory's parent": (("dir", "x", ""), ("file", "x/.wh...", "")),
        "whiteout of the directory": (("file", ".wh..", ""),),
        "whiteout of nothing": (("file", ".wh.", ""),),
        "file below a file": (("file", "x", ""), ("file", "x/y", "")),
        "hard link to a directory": (("dir", "x", ""), ("hard", "y", "x")),
        "hard link to itself": (("hard", "x", "x"),),
        "a name that is too long": (("file", "x" * 300, ""),),
    }
    for name, members in cases.items():
        with pytest.raises(BadImageArchive):
            put(layer(*members), tmp_path / "layers")
        assert os.listdir(outside) == [], name
        assert os.listdir(tmp_path / "layers") == [], name


@isolated
async def test_what_replaces_a_directory_in_a_layer_is_all_that_is_left(tmp_path: Path) -> None:
    """A link in place of a directory is not followed when the directory's time is set."""
    canary = tmp_path / "canary"
    canary.mkdir()
    before = canary.stat().st_mtime_ns
    made = put(layer(("dir", "a", ""), ("link", "a", str(canary))), tmp_path / "layers")
    assert (made / "a").is_symlink()
    assert canary.stat().st_mtime_ns == before
    made = put(layer(("dir", "d", ""), ("dir", "d/sub", ""), ("file", "d", "x")), tmp_path / "layers")
    assert (made / "d").read_text() == "x"


@pytest.mark.parametrize("damage", ["cut", "no tar", "wrong gzip", "bomb", "huge header"])
def test_damaged_and_excessive_layers_are_refused(tmp_path: Path, damage: str) -> None:
    if os.geteuid():
        pytest.skip("needs root")
    good = layer(("file", "x", "y" * 5000))
    big = tarfile.TarInfo("big")
    big.size = 1 << 40
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, 1 << 36
    data = {
        "cut": good[:3000],
        "no tar": b"no archive at all" * 100,
        "wrong gzip": gzip.compress(good)[:-20],
        "bomb": big.tobuf() + bytes(2048),
        "huge header": header.tobuf() + bytes(4096),
    }[damage]
    with pytest.raises(BadImageArchive):
        put(data, tmp_path / "layers")
    assert os.listdir(tmp_path / "layers") == []


@isolated
async def test_links_in_a_layer_stay_within_it(tmp_path: Path) -> None:
    """An absolute link, or one with parents, leads to a place in the layer, as it would in the container."""
    made = put(
        layer(
            ("link", "abs", str(tmp_path)), ("file", "abs/x", "1"), ("link", "up", "../../.."), ("file", "up/y", "2")
        ),
        tmp_path / "layers",
    )
    assert not os.path.exists(tmp_path / "x")
    with open(made / str(tmp_path).lstrip("/") / "x") as file:
        assert file.read() == "1"
    with open(made / "y") as file:
        assert file.read() == "2"


@isolated
async def test_devices_are_left_out_and_absolute_names_are_relative(tmp_path: Path) -> None:
    made = put(layer(("device", "dev/sda", ""), ("file", "/etc/x", "1")), tmp_path / "layers")
    assert os.path.exists(made / "etc/x")
    assert not os.path.exists(made / "dev/sda")


@isolated
async def test_a_layer_must_have_the_digest_that_is_stated(tmp_path: Path) -> None:
    for data, words in ((BASE, "expected"), (b"no archive", "damaged|digest"), (gzip.compress(BASE)[:60], "damaged")):
        with pytest.raises(BadImageArchive, match=words):
            unpack(io.BytesIO(data), "sha256:" + "0" * 64, tmp_path / "layers")
    assert os.listdir(tmp_path / "layers") == []


@isolated
async def test_images_are_named_found_and_removed(tmp_path: Path) -> None:
    store = ImageStore(tmp_path / "store")
    path = docker_archive(
        tmp_path / "a.tar.gz", "app:1", [BASE], Cmd=["run"], Env=["A=b"], User="1000", WorkingDir="/x"
    )
    await store.load(path)
    image = await ImageStore(tmp_path / "store").ensure("app:1", policy="Never")
    assert image.reference == "docker.io/library/app:1"
    assert (image.config.command, image.config.env, image.config.user) == (("run",), ("A=b",), "1000")
    store.tag("app:1", "other/name:2")
    assert [one.reference for one in store.list()] == ["docker.io/library/app:1", "docker.io/other/name:2"]
    assert store.remove("app:1")
    assert os.path.exists(image.layers[0])
    assert store.remove("other/name:2")
    assert not os.path.exists(image.layers[0])
    assert not store.remove("app:1")
    with pytest.raises(ImageNeverPull, match='"app:1" is not present with pull policy of Never'):
        await store.ensure("app:1", policy="Never")


@isolated
async def test_what_is_no_image_archive_is_refused(tmp_path: Path) -> None:
    store = ImageStore(tmp_path / "store")
    with tarfile.open(tmp_path / "empty.tar", "w"):
        pass
    with open(tmp_path / "text", "w") as file:
        file.write("hello")
    for name in ("empty.tar", "text"):
        with pytest.raises(BadImageArchive):
            await store.load(tmp_path / name)


@dataclass
class FakeRegistry:
    """A registry with one image, which wants a token for it."""

    layers: list[bytes]
    account: str = ""
    asked: list[str] = field(default_factory=list)
    address: str = ""

    def contents(self) -> dict[str, tuple[bytes, str]]:
        config = configuration(self.layers, Cmd=["run"])
        packed = [gzip.compress(data, mtime=0) for data in self.layers]
        blobs = {digest(data): data for data in (config, *packed)}
        layers = [{"digest": digest(data), "size": len(data)} for data in packed]
        manifest = json.dumps({"config": {"digest": digest(config)}, "layers": layers}).encode()
        platform = {"os": "linux", "architecture": "amd64"}
        foreign = {"digest": "sha256:0", "platform": {"os": "linux", "architecture": "arm64"}}
        index = json.dumps({"manifests": [foreign, {"digest": digest(manifest), "platform": platform}]}).encode()
        kind = "application/vnd.oci.image.manifest.v1+json"
        found = {f"/v2/team/app/blobs/{name}": (data, "application/octet-stream") for name, data in blobs.items()}
        found["/v2/team/app/manifests/1"] = (index, "application/vnd.oci.image.index.v1+json")
        found[f"/v2/team/app/manifests/{digest(manifest)}"] = (manifest, kind)
        return found

    async def answer(self, request: Request) -> Response:
        self.asked.append(request.path)
        authorization = request.headers.get("authorization", "")
        if request.path == "/token":
            wanted = "Basic " + base64.b64encode(self.account.encode()).decode()
            return Response(200, b'{"token": "t"}') if authorization == wanted else Response(401)
        if self.account and authorization != "Bearer t":
            challenge = f'Bearer realm="http://{self.address}/token",service="fake"'
            return Response(401, headers={"WWW-Authenticate": challenge})
        found = self.contents().get(request.path)
        return Response(404) if found is None else Response(200, found[0], found[1])


@isolated
async def test_an_image_is_pulled_from_a_registry_that_wants_a_token(tmp_path: Path) -> None:
    registry = FakeRegistry([BASE, UPPER], account="user:secret")
    server = await serve(registry.answer)
    registry.address = f"127.0.0.1:{server.port}"
    name = f"{registry.address}/team/app:1"
    store = ImageStore(tmp_path / "store")
    with pytest.raises(ImagePullError, match="failed to fetch a token"):
        await store.ensure(name)
    config = {"auths": {registry.address: {"auth": base64.b64encode(b"user:secret").decode()}}}
    secret = {"data": {".dockerconfigjson": base64.b64encode(json.dumps(config).encode()).decode()}}
    image = await store.ensure(name, credentials=Credentials.from_secrets([secret]))
    assert image.reference == name
    assert image.digest.startswith(f"{registry.address}/team/app@sha256:")
    assert image.config.command == ("run",)
    assert len(image.layers) == 2
    asked = len(registry.asked)
    assert (await store.ensure(name)).id == image.id
    assert len(registry.asked) == asked
    await store.ensure(name, policy="Always", credentials=Credentials.from_secrets([secret]))
    assert len(registry.asked) > asked
    await server.close()


@isolated
async def test_a_pull_that_fails_says_why(tmp_path: Path) -> None:
    server = await serve(FakeRegistry([BASE]).answer)
    store = ImageStore(tmp_path / "store")
    with pytest.raises(ImagePullError, match=r'failed to pull and unpack image ".*/team/none:1".*not found'):
        await store.ensure(f"127.0.0.1:{server.port}/team/none:1")
    port = server.port
    await server.close()
    with pytest.raises(RegistryUnreachable):
        await store.ensure(f"127.0.0.1:{port}/team/app:1")


@isolated
async def test_a_host_program_stands_in_where_there_is_no_registry(tmp_path: Path) -> None:
    """The registry is asked first; its answer, even a refusal, counts more than a stand-in."""
    store = ImageStore(tmp_path / "store")
    image = await store.ensure("busybox")
    assert image.reference == "docker.io/library/busybox:latest"
    assert image.config.command == ("sh",)
    assert store.find("busybox") == image
    with pytest.raises(RegistryUnreachable):
        await store.ensure("no-such-program:1")


@isolated
async def test_an_image_in_use_is_not_removed(tmp_path: Path) -> None:
    """Neither by its last name, nor when another image is removed after its name went to a newer one."""
    store = ImageStore(tmp_path / "store")
    [first] = await store.load(docker_archive(tmp_path / "a.tar.gz", "app:1", [BASE], Cmd=["run"]))
    rootfs = tmp_path / "pods" / "rootfs"
    store.use(first, rootfs)
    other = ImageStore(tmp_path / "store")
    with pytest.raises(ImageInUse, match="in use"):
        other.remove("app:1")
    store.tag("app:1", "app:2")
    assert other.remove("app:2")
    [second] = await store.load(docker_archive(tmp_path / "b.tar.gz", "app:1", [UPPER], Cmd=["run"]))
    await store.load(docker_archive(tmp_path / "c.tar.gz", "third:1", [BASE, UPPER], Cmd=["x"]))
    assert other.remove("third:1")
    assert first.layers[0].is_dir()
    assert second.layers[0].is_dir()
    rootfs.rmdir()
    assert other.remove("app:1")
    assert not list((tmp_path / "store" / "layers").iterdir())
