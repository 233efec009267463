"""Names of images, as Docker and the CRI write them: `nginx:1.7.9` is `docker.io/library/nginx:1.7.9`."""

import re
from dataclasses import dataclass

from sampan.node.images.types import InvalidImageName

DEFAULT_DOMAIN = "docker.io"
DEFAULT_REPOSITORY = "library"
DEFAULT_TAG = "latest"
MAX_NAME = 255

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_DOMAIN = re.compile(r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Reference:
    """A fully qualified name. An image given by digest has no tag."""

    domain: str
    path: str
    tag: str
    digest: str = ""

    @property
    def repository(self) -> str:
        return f"{self.domain}/{self.path}"

    @property
    def pinned(self) -> str:
        """What to ask the registry for."""
        return self.digest or self.tag

    def __str__(self) -> str:
        return f"{self.repository}@{self.digest}" if self.digest else f"{self.repository}:{self.tag}"


def parse(text: str) -> Reference:
    """Read a name as users write it. Raises InvalidImageName."""
    name, _, digest = text.partition("@")
    head, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        head, tag = name, ""
    elif not tag:
        raise InvalidImageName("invalid reference format")
    domain, path = _split(head)
    if not _PATH.fullmatch(path):
        lowered = _PATH.fullmatch(path.lower()) is not None
        detail = ": repository name must be lowercase" if lowered else ""
        raise InvalidImageName(f"invalid reference format{detail}")
    valid = _DOMAIN.fullmatch(domain) and (not tag or _TAG.fullmatch(tag)) and len(head) <= MAX_NAME
    if not valid or ("@" in text and not _DIGEST.fullmatch(digest)):
        raise InvalidImageName("invalid reference format")
    return Reference(domain, path, "" if digest else tag or DEFAULT_TAG, digest)


def _split(name: str) -> tuple[str, str]:
    """A first part with a dot, a colon or upper case, or `localhost`, is a registry's address."""
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        domain, path = first, rest
    else:
        domain, path = DEFAULT_DOMAIN, name
    if domain == "index.docker.io":
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = f"{DEFAULT_REPOSITORY}/{path}"
    return domain, path


def default_policy(text: str) -> str:
    """The pull policy of a container that states none."""
    return "Always" if parse(text).tag == DEFAULT_TAG else "IfNotPresent"
