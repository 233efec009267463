"""The supervisor's control socket: one JSON request, one JSON answer, then the connection ends.

The socket lies in the cluster's `run/` directory, which only its owner can open. Paths to it are made through
/proc/self/fd, because a socket's address holds 107 bytes and a state directory may be longer.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec


class ControlError(Exception):
    """The supervisor cannot be asked, or refused."""


class _Data(msgspec.Struct, frozen=True, kw_only=True):
    pass


class Status(_Data, frozen=True, tag=True):
    """How is everything? Answered by ClusterStatus."""


class Publish(_Data, frozen=True, tag=True):
    """Forward ports of the host's loopback to a Service. Answered by Published.

    `ports` gives a host port, 0 for any free one, for each of the Service's that is meant: by NAME, NUMBER or either
    with /PROTOCOL; "" means all that it has.
    """

    namespace: str
    service: str
    ports: dict[str, int]


class Unpublish(_Data, frozen=True, tag=True):
    """Stop forwarding, of one protocol or of all. Answered by Done."""

    host_port: int
    protocol: str = ""


class Stop(_Data, frozen=True, tag=True):
    """End the box. Answered by Done when nothing of it is left; the supervisor then ends too."""


Request = Status | Publish | Unpublish | Stop


class ComponentStatus(_Data, frozen=True):
    """One component: `state` is waiting, starting, ready, done or restarting; `pid` as seen inside the box."""

    name: str
    state: str = "waiting"
    pid: int = 0
    restarts: int = 0
    since: float = 0.0


class Publication(_Data, frozen=True, kw_only=True):
    """A port of the machine, and the port of a Service, or of a node, that it leads to."""

    namespace: str = ""
    service: str = ""
    port: str
    host_port: int
    protocol: str = "TCP"
    address: str = "127.0.0.1"
    node: str = ""

    @property
    def place(self) -> str:
        """As it is typed: 127.0.0.1:8080."""
        return f"[{self.address}]:{self.host_port}" if ":" in self.address else f"{self.address}:{self.host_port}"

    @property
    def target(self) -> str:
        if self.node:
            return f"node {self.node}, port {self.port}"
        return f"{self.namespace}/{self.service}" + (f":{self.port}" if self.port else "")


class Done(_Data, frozen=True, tag=True):
    pass


class Published(_Data, frozen=True, tag=True):
    publications: list[Publication]


class Refused(_Data, frozen=True, tag=True):
    error: str


class ClusterStatus(_Data, frozen=True, tag=True):
    """`box_pid` is the box's first process as the host sees it; `outbound` tells of the way out (`outbound.py`)."""

    box_pid: int
    components: list[ComponentStatus]
    published: list[Publication]
    outbound: str = ""


Answer = Done | Published | Refused | ClusterStatus
A = TypeVar("A", Done, Published, ClusterStatus)

_encode = msgspec.json.Encoder().encode
_request = msgspec.json.Decoder(Request).decode
_answer = msgspec.json.Decoder(Answer).decode

Handler = Callable[[Request], Awaitable[Answer]]


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """An address for a socket in a directory with a path of any length."""
    descriptor = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)


def ask(path: Path, request: Request, kind: type[A], *, timeout: float = 30.0) -> A:
    """Asks the supervisor. Blocks. Raises ControlError with the supervisor's reason, or if it does not answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        try:
            with _short(path) as address:
                connection.connect(address)
            connection.sendall(_encode(request) + b"\n")
            data = b"".join(iter(lambda: connection.recv(65536), b""))
        except OSError as error:
            raise ControlError(f"the supervisor does not answer: {error}") from error
    if not data:
        raise ControlError("the supervisor ended without an answer")
    answer = _answer(data)
    if isinstance(answer, kind):
        return answer
    raise ControlError(answer.error if isinstance(answer, Refused) else f"unexpected answer {answer}")


async def serve(path: Path, handler: Handler) -> asyncio.Server:
    """Answers requests until the server is closed. A request that is not understood is refused."""
    listener = _bind(path)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(_encode(await _handled(await reader.readline(), handler)))
            await writer.drain()
        except ConnectionError:
            pass  # whoever asked did not wait for the answer
        finally:
            writer.close()

    return await asyncio.start_unix_server(connected, sock=listener)


def _bind(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    path.unlink(missing_ok=True)
    with _short(path) as address:
        listener.bind(address)
    path.chmod(0o600)
    return listener


async def _handled(line: bytes, handler: Handler) -> Answer:
    try:
        return await handler(_request(line))
    except (msgspec.DecodeError, ControlError) as error:
        return Refused(error=str(error))
