"""What the parts of one rendering share: where files are, and what locations need outside themselves."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from sampan.ingress.model import Listeners, Text
from sampan.ingress.nginx.directives import Node, render
from sampan.ingress.nginx.values import Values

PLAIN = "upstream_balancer"
"""The upstream of plain HTTP; see `upstream()`."""


@dataclass(frozen=True, slots=True)
class Paths:
    """The private directory: sockets, the pid, secrets as files. Nobody else may read it."""

    private: Path

    @property
    def control(self) -> str:
        return f"{self.private}/control.sock"

    @property
    def unavailable(self) -> str:
        return f"{self.private}/unavailable.sock"

    @property
    def https(self) -> str:
        return f"{self.private}/https.sock"

    @property
    def records(self) -> str:
        return f"{self.private}/records.log"


@dataclass(frozen=True, slots=True)
class Globals:
    """What every host's text depends on besides the host."""

    listeners: Listeners
    values: Values
    paths: Paths
    passthrough: bool
    """TLS comes through a socket from the stream module, which has looked at the name."""
    default_backend: str
    default_backend_key: tuple[str, str, str] = ("", "", "")
    resolvers: tuple[str, ...] = ()
    request_headers: tuple[tuple[str, Text], ...] = ()
    response_headers: tuple[tuple[str, Text], ...] = ()


@dataclass(slots=True)
class Shared:
    """Directives of the http context and files that some location needs, by name: equal needs are one."""

    directives: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)

    def need(self, name: str, nodes: Iterable[Node]) -> None:
        if name not in self.directives:
            self.directives[name] = render(nodes, 1)

    def file(self, globals_: Globals, kind: str, content: bytes) -> str:
        """The path of a private file with this content."""
        path = f"{globals_.paths.private}/files/{kind}-{digest(content)}"
        self.files[path] = content
        return path

    def add(self, other: Shared) -> None:
        self.directives |= other.directives
        self.files |= other.files


def digest(value: object) -> str:
    """A short name for a value, the same in every run. `value` is bytes or has a complete repr."""
    data = value if isinstance(value, bytes) else repr(value).encode("utf-8", "backslashreplace")
    return hashlib.sha256(data).hexdigest()[:16]
