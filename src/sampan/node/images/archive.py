"""Archives of images, as `docker save` and OCI tools write them: which images they hold and where their parts are."""

import posixpath
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec

from sampan.node.images.types import BadImageArchive

PLATFORM = ("linux", "amd64")
NAME_ANNOTATIONS = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
MAX_METADATA = 16 << 20
INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)


@dataclass(frozen=True, slots=True)
class ArchivedImage:
    """One image of an archive: the names it has there and the members that make it up, lowest layer first."""

    names: tuple[str, ...]
    config: str
    layers: tuple[str, ...]


class Archive:
    """An open archive, compressed or not."""

    def __init__(self, file: tarfile.TarFile) -> None:
        self._file = file
        self._members = {posixpath.normpath(member.name): member for member in file.getmembers()}

    def images(self) -> list[ArchivedImage]:
        """What is in it. Raises BadImageArchive if it is no archive of images."""
        if "manifest.json" in self._members:
            return [
                ArchivedImage(tuple(one.get("RepoTags") or ()), one["Config"], tuple(one["Layers"]))
                for one in self._metadata("manifest.json", list[dict[str, Any]])
            ]
        if "index.json" in self._members:
            return list(self._from_index(self._metadata("index.json", dict[str, Any]), ()))
        raise BadImageArchive("neither manifest.json nor index.json is in the archive: it is not an image")

    def _from_index(self, index: dict[str, Any], names: tuple[str, ...]) -> Iterator[ArchivedImage]:
        for entry in index.get("manifests", ()):
            if not fits(entry):
                continue
            annotations = entry.get("annotations") or {}
            own = tuple(annotations[key] for key in NAME_ANNOTATIONS if key in annotations)[:1] or names
            document = self._metadata(blob_name(entry["digest"]), dict[str, Any])
            if "manifests" in document:
                yield from self._from_index(document, own)
            else:
                layers = tuple(blob_name(layer["digest"]) for layer in document["layers"])
                yield ArchivedImage(own, blob_name(document["config"]["digest"]), layers)

    def _metadata(self, name: str, type: Any) -> Any:
        with self.open(name) as file:
            try:
                return msgspec.json.decode(file.read(MAX_METADATA), type=type)
            except msgspec.DecodeError as error:
                raise BadImageArchive(f"{name} in the archive is damaged: {error}") from error

    def open(self, name: str) -> IO[bytes]:
        """A member's content; links between members are followed. Raises BadImageArchive."""
        path = posixpath.normpath(name)
        for _ in range(8):
            member = self._members.get(path)
            if member is None:
                break
            if member.issym() or member.islnk():
                base = posixpath.dirname(path) if member.issym() else ""
                path = posixpath.normpath(posixpath.join(base, member.linkname))
                continue
            file = self._file.extractfile(member)
            if file is None:
                break
            return file
        raise BadImageArchive(f"{name} is not in the archive")


def blob_name(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/", 1)


def fits(entry: dict[str, Any]) -> bool:
    """Whether an entry of an index is for machines of this kind."""
    platform = entry.get("platform")
    return platform is None or (platform.get("os"), platform.get("architecture")) == PLATFORM


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open an archive file. Raises BadImageArchive if it is none; OSError if it cannot be read."""
    try:
        with tarfile.open(path, "r:*") as file:
            yield Archive(file)
    except (tarfile.TarError, EOFError, KeyError, TypeError) as error:
        raise BadImageArchive(f"{path} is not an image archive: {error}") from error
