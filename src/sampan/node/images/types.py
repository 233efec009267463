"""Images as the node agent sees them, and what can go wrong while getting one."""

import base64
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from sampan.machinery.objects import Object
from sampan.node.runtime.types import Mount


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """The part of an OCI image configuration that decides how its containers run."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    """`NAME=value` each."""
    working_dir: str = ""
    user: str = ""
    stop_signal: str = ""
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory on top of an image's layers; what is in it below stays visible."""

    path: str
    owner: int = 0
    """User and group id."""
    mode: int = 0o755


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image that is present: where its layers are, and how to run it."""

    id: str
    """`sha256:…` of its configuration; what a container status calls imageID when there is no digest."""
    reference: str
    """Fully qualified, as in a container status: `docker.io/library/nginx:1.7.9`."""
    digest: str = ""
    """`docker.io/library/nginx@sha256:…` if it came from a registry."""
    config: ImageConfig = ImageConfig()
    layers: tuple[Path, ...] = ()
    """Directories for overlayfs, the uppermost first."""
    separate: tuple[Path, ...] = ()
    """Directories below a layer `/` that have a file system of their own, which the layer does not show."""
    hidden: tuple[Path, ...] = ()
    """Directories of the lower layers that containers must see empty."""
    files: dict[str, str] = field(default_factory=dict)
    """Files by path that every container of this image gets on top of the layers; scripts (#!) are executable."""
    directories: tuple[Directory, ...] = ()
    """Directories that these containers find with an owner and a mode of their own, parents first."""
    mounts: tuple[Mount, ...] = ()
    """Mounts that belong to the image; they come before the volumes."""
    size: int = 0


class ImageError(Exception):
    """An image is not to be had. `reason` is the container's waiting reason, the text its message."""

    reason = "ErrImagePull"


class InvalidImageName(ImageError):
    reason = "InvalidImageName"


class ImageNeverPull(ImageError):
    """The image is not present and its policy forbids pulling it."""

    reason = "ErrImageNeverPull"


class ImagePullError(ImageError):
    """The registry did not give the image: unreachable, not found, not allowed, damaged."""


class ImageInUse(ImageError):
    """Containers have the image's layers mounted, so that it cannot be removed."""


class BadImageArchive(ImageError):
    """An archive is not an image, or tries to write outside of it."""


class RegistryUnreachable(ImagePullError):
    """There is no registry at the image's address, or no way to it."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """User names and passwords by registry host, from imagePullSecrets."""

    by_host: dict[str, tuple[str, str]] = field(default_factory=dict)

    @classmethod
    def from_secrets(cls, secrets: list[Object]) -> "Credentials":
        """Read Secrets of types kubernetes.io/dockerconfigjson and dockercfg; others, and damaged ones, are ignored."""
        found: dict[str, tuple[str, str]] = {}
        for secret in secrets:
            data = secret.get("data") or {}
            try:
                if ".dockerconfigjson" in data:
                    document = base64.b64decode(data[".dockerconfigjson"])
                    found |= _accounts(msgspec.json.decode(document, type=_DockerConfig).auths)
                elif ".dockercfg" in data:
                    document = base64.b64decode(data[".dockercfg"])
                    found |= _accounts(msgspec.json.decode(document, type=dict[str, _Account]))
            except (ValueError, msgspec.MsgspecError):
                continue
        return cls(found)


class _Account(msgspec.Struct):
    """One registry's entry; `auth` is user and password together in base64."""

    username: str = ""
    password: str = ""
    auth: str = ""


class _DockerConfig(msgspec.Struct):
    auths: dict[str, _Account] = {}


def _accounts(entries: dict[str, _Account]) -> dict[str, tuple[str, str]]:
    found = {}
    for address, entry in entries.items():
        host = (address.partition("://")[2] or address).partition("/")[0]
        user, password = entry.username, entry.password
        if not user and entry.auth:
            user, _, password = base64.b64decode(entry.auth).decode(errors="replace").partition(":")
        found["docker.io" if host == "index.docker.io" else host] = (user, password)
    return found
