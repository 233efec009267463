"""The images of this machine, shared by all nodes and clusters on it: configurations by digest, layers unpacked once.

    images/<config digest>.json   what an image consists of
    layers/<diff id>/             one unpacked layer
    names.json                    which name means which image; changed under a lock, replaced as a whole
    uses/<config digest>/         a note for each container: where its root file system is
    busybox/                      the root of containers that see the machine's busybox alone

Everything appears by rename, so a reader never sees half of anything, and a process killed leaves only `.unpack-` and
`.blob-` debris behind, which the next removal clears.
"""

import asyncio
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from sampan.node.images import aliases, builtin, busybox
from sampan.node.images.archive import Archive, ArchivedImage, open_archive
from sampan.node.images.dialing import MACHINE, Ways, through
from sampan.node.images.layers import layer_path, unpack
from sampan.node.images.records import ImageRecord, OCIImage
from sampan.node.images.reference import Reference, default_policy, parse
from sampan.node.images.registry import Registry
from sampan.node.images.types import (
    BadImageArchive,
    Credentials,
    Image,
    ImageConfig,
    ImageInUse,
    ImageNeverPull,
    ImagePullError,
    RegistryUnreachable,
)

ANONYMOUS = Credentials()
UNREACHABLE_SECONDS = 60.0
"""How long a registry that could not be reached is not tried again for images that have a stand-in."""
DEBRIS_SECONDS = 3600.0
MAX_CONFIG = 8 << 20
"""Bytes of an image's configuration, which is read into memory."""


class ImageStore:
    """A directory of images. Several processes may use it at once."""

    def __init__(self, root: Path, *, hidden: Sequence[Path] = (), ways: Ways = MACHINE) -> None:
        """`hidden`: directories of the host, besides the users' homes, that the `host` image must not show.

        `ways`: how registries are reached.
        """
        self._dial = through(ways)
        self.root = root
        self.hidden = (root, *hidden)
        self._images = root / "images"
        self._layers = root / "layers"
        self._names = root / "names.json"
        for directory in (self._images, self._layers):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._pulls: dict[str, asyncio.Task[Image]] = {}
        self._stand_ins: dict[str, Image] = {}
        self._unreachable: dict[str, float] = {}

    # --- having an image

    async def ensure(self, reference: str, *, policy: str = "", credentials: Credentials = ANONYMOUS) -> Image:
        """Have the image present and return it, pulling it if `policy` (Always, IfNotPresent, Never) says so.

        An empty policy is upstream's default: Always for the tag latest, else IfNotPresent. Raises ImageError. An
        alias of the user's own comes before the registry; where that cannot be reached, a built-in one may stand in.
        """
        if name := builtin.name_of(reference):
            return self._builtin(name)
        policy = policy or default_policy(reference)
        present = self.find(reference)
        if present is not None and (policy != "Always" or present.id.startswith("host:")):
            return present
        own, stand_in = await asyncio.to_thread(self._aliases_of, parse(reference))
        if own is not None:
            return self._chosen(reference, own)
        if policy == "Never":
            if stand_in is None:
                raise ImageNeverPull(f'Container image "{reference}" is not present with pull policy of Never')
            return self._chosen(reference, stand_in)
        if stand_in is not None and self._is_unreachable(parse(reference).domain):
            return self._chosen(reference, stand_in)
        try:
            return await self.pull(reference, credentials=credentials)
        except RegistryUnreachable:
            self._unreachable[parse(reference).domain] = time.monotonic()
            if stand_in is None:
                raise
            return self._chosen(reference, stand_in)

    def find(self, reference: str) -> Image | None:
        """The image if it is present; no network, no change. Raises InvalidImageName."""
        if name := builtin.name_of(reference):
            return self._builtin(name)
        full = str(parse(reference))
        ident = self._read_names().get(full)
        if ident is None:
            return self._stand_ins.get(full)
        return self._image(full, ident)

    def _builtin(self, name: str) -> Image:
        make = {builtin.SAMPAN: builtin.own, builtin.INGRESS: builtin.ingress}.get(name, builtin.host)
        return make(self.hidden)

    def _aliases_of(self, reference: Reference) -> tuple[Image | None, Image | None]:
        """The image as the user's own table has it, and as the built-in one has it."""
        own = aliases.load(self.root / "aliases.yaml")
        return self._stand_in(reference, own), self._stand_in(reference, aliases.TABLE)

    def _stand_in(self, reference: Reference, table: Sequence[aliases.Alias]) -> Image | None:
        """A program of this machine as the image."""
        alias = aliases.find(reference, table)
        if alias is None:
            return None
        if alias.builtin:
            return builtin.ingress(self.hidden, reference=str(reference), flags=alias.command)
        config = ImageConfig(alias.entrypoint, alias.command, alias.env, alias.working_dir)
        image = builtin.host(self.hidden, reference=str(reference), config=config, files=alias.files)
        if alias.alone:
            root = busybox.root_of(shutil.which(alias.program) or alias.program, self.root / "busybox")
            image = replace(image, layers=(root,), hidden=(), mounts=())
        return image

    def _chosen(self, reference: str, stand_in: Image) -> Image:
        """From now on the image counts as present."""
        self._stand_ins[str(parse(reference))] = stand_in
        return stand_in

    def _is_unreachable(self, domain: str) -> bool:
        return time.monotonic() - self._unreachable.get(domain, -UNREACHABLE_SECONDS) < UNREACHABLE_SECONDS

    # --- getting images

    async def pull(self, reference: str, *, credentials: Credentials = ANONYMOUS) -> Image:
        """Get the image from its registry, anew if it is present already. Raises ImagePullError.

        Several requests for one image at a time share one pull, unless their credentials differ.
        """
        key = f"{reference} {sorted(credentials.by_host.items())}"
        task = self._pulls.get(key)
        if task is None:
            task = asyncio.create_task(self._pull(parse(reference), credentials))
            self._pulls[key] = task
            task.add_done_callback(lambda _: self._pulls.pop(key, None))
        return await asyncio.shield(task)

    async def _pull(self, reference: Reference, credentials: Credentials) -> Image:
        registry = Registry(reference, credentials, self._dial)
        digest, manifest = await registry.manifest()
        with self._adding(), tempfile.TemporaryDirectory(prefix=".blob-", dir=self.root) as directory:
            try:
                config_file = Path(directory) / "config"
                await registry.blob(manifest["config"]["digest"], config_file, limit=MAX_CONFIG)
                config = config_file.read_bytes()
                diff_ids = OCIImage.parse(config).rootfs.diff_ids
                size = await self._pull_layers(registry, manifest["layers"], diff_ids, Path(directory))
            except (KeyError, TypeError, ValueError, BadImageArchive) as error:
                raise ImagePullError(f'failed to pull and unpack image "{reference}": {error}') from error
            return self._add(config, [str(reference)], size, f"{reference.repository}@{digest}")

    async def _pull_layers(
        self, registry: Registry, layers: list[dict[str, Any]], diff_ids: Sequence[str], directory: Path
    ) -> int:
        if len(layers) != len(diff_ids):
            raise BadImageArchive(f"{len(layers)} layers for {len(diff_ids)} in the configuration")
        for layer, diff_id in zip(layers, diff_ids, strict=True):
            if not layer_path(self._layers, diff_id).exists():
                blob = directory / "layer"
                await registry.blob(layer["digest"], blob, limit=int(layer["size"]))
                await asyncio.to_thread(self._unpack_file, blob, diff_id)
        return sum(int(layer["size"]) for layer in layers)

    def _unpack_file(self, blob: Path, diff_id: str) -> None:
        with blob.open("rb") as file:
            unpack(file, diff_id, self._layers)

    async def load(self, archive: Path) -> "list[Image]":
        """Add the images of a docker-save or OCI layout archive. Raises BadImageArchive, OSError."""
        return await asyncio.to_thread(self._load, archive)

    def _load(self, path: Path) -> "list[Image]":
        with self._adding(), open_archive(path) as archive:
            return [self._load_one(archive, one) for one in archive.images()]

    def _load_one(self, archive: Archive, archived: ArchivedImage) -> Image:
        with archive.open(archived.config) as file:
            config = file.read()
        diff_ids = OCIImage.parse(config).rootfs.diff_ids
        if len(diff_ids) != len(archived.layers):
            raise BadImageArchive(f"{len(archived.layers)} layers for {len(diff_ids)} in the configuration")
        size = 0
        for name, diff_id in zip(archived.layers, diff_ids, strict=True):
            with archive.open(name) as file:
                unpack(file, diff_id, self._layers)
                size += file.tell()
        return self._add(config, [str(parse(name)) for name in archived.names], size)

    def _add(self, config: bytes, names: Sequence[str], size: int, digest: str = "") -> Image:
        """Write an image whose layers are there already, and its names."""
        ident = f"sha256:{hashlib.sha256(config).hexdigest()}"
        record = ImageRecord(id=ident, digest=digest, size=size, image=OCIImage.parse(config))
        _replace(self._images / f"{ident.removeprefix('sha256:')}.json", msgspec.json.encode(record))
        with self._changing_names() as known:
            known.update(dict.fromkeys(names, ident))
        return record.open(names[0] if names else ident, self._layers)

    # --- names

    def tag(self, reference: str, new_reference: str) -> None:
        """Give a present image another name. Raises ImageNeverPull if it is not present."""
        ident = self._read_names().get(str(parse(reference)))
        if ident is None:
            raise ImageNeverPull(f'image "{reference}" is not present')
        with self._changing_names() as known:
            known[str(parse(new_reference))] = ident

    def remove(self, reference: str) -> bool:
        """Forget a name, and the image's data if no other name needs them. False if there was none.

        Raises ImageInUse rather than take the files away from under a container, of whatever cluster.
        """
        with self._changing_names() as known:
            ident = known.get(str(parse(reference)))
            if ident is None:
                return False
            users = self._users(ident)
            if users and list(known.values()).count(ident) == 1:
                more = f" and {len(users) - 1} more" if len(users) > 1 else ""
                raise ImageInUse(f'image "{reference}" is in use by the container at {users[0]}{more}')
            del known[str(parse(reference))]
            with self._adding(wait=False) as alone:
                if alone:
                    self._sweep(set(known.values()))
        return True

    def use(self, image: Image, rootfs: Path) -> None:
        """Note that a container uses the image for as long as its directory `rootfs` exists. Blocks shortly."""
        if image.id.startswith("host:"):
            return
        uses = self._uses(image.id)
        for directory in (rootfs, uses):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        (uses / hashlib.sha256(os.fsencode(rootfs)).hexdigest()[:32]).write_bytes(os.fsencode(rootfs))

    def _uses(self, ident: str) -> Path:
        return self.root / "uses" / ident.removeprefix("sha256:")

    def _users(self, ident: str) -> list[Path]:
        """The directories of containers that use an image; notes about those that are gone are removed."""
        found = []
        for note in sorted(self._uses(ident).glob("*")):
            directory = Path(os.fsdecode(note.read_bytes()))
            if directory.exists():
                found.append(directory)
            else:
                note.unlink(missing_ok=True)
        return found

    @contextmanager
    def _adding(self, *, wait: bool = True) -> Iterator[bool]:
        """Shared by all who add layers that no image refers to yet; without `wait`: alone, or False if others add."""
        with (self.root / "adding").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    def _sweep(self, kept: set[str]) -> None:
        """Remove all images but those kept and those in use, and every layer that none of these has."""
        for uses in (self.root / "uses").glob("*"):
            if self._users(uses.name):
                kept.add(f"sha256:{uses.name}")
            else:
                shutil.rmtree(uses, ignore_errors=True)
        needed: set[str] = set()
        for file in self._images.iterdir():
            record = msgspec.json.decode(file.read_bytes(), type=ImageRecord)
            if record.id in kept:
                needed.update(layer_path(self._layers, diff_id).name for diff_id in record.image.rootfs.diff_ids)
            else:
                file.unlink()
        for entry in (*self._layers.iterdir(), *self.root.glob(".blob-*")):
            old = time.time() - entry.stat().st_ctime > DEBRIS_SECONDS
            if entry.name not in needed and (old or not entry.name.startswith(".")):
                shutil.rmtree(entry, ignore_errors=True)

    def _read_names(self) -> dict[str, str]:
        try:
            return msgspec.json.decode(self._names.read_bytes(), type=dict[str, str])
        except FileNotFoundError:
            return {}

    @contextmanager
    def _changing_names(self) -> Iterator[dict[str, str]]:
        """The names, locked against other processes and written back afterwards."""
        with (self.root / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            names = self._read_names()
            yield names
            _replace(self._names, msgspec.json.encode(names))

    def _image(self, reference: str, ident: str) -> Image | None:
        try:
            data = (self._images / f"{ident.removeprefix('sha256:')}.json").read_bytes()
        except FileNotFoundError:
            return None
        return msgspec.json.decode(data, type=ImageRecord).open(reference, self._layers)

    def list(self) -> list[Image]:
        """The images present, one entry for each name, without the built-in ones."""
        found = (self._image(name, ident) for name, ident in sorted(self._read_names().items()))
        return [image for image in found if image is not None]


def _replace(file: Path, content: bytes) -> None:
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    partial.write_bytes(content)
    partial.rename(file)
