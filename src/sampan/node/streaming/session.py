"""The streams of one exec or attach, whatever carries them.

`spdy_session.py` and `websocket_session.py` implement `Session`; `remote_command.py` connects one with a process.
The protocol versions are those of `k8s.io/apimachinery/pkg/util/remotecommand`.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from sampan.http.messages import Query
from sampan.machinery.objects import Object

SUCCESS: Object = {"metadata": {}, "status": "Success"}


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """Which streams the client wants."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False

    @classmethod
    def of(cls, query: Query) -> "StreamOptions":
        """Read the agent's own parameters (input, output, error, tty) or those of pods/exec."""
        tty = query.flag("tty")
        stderr = query.flag("error") or query.flag("stderr")
        return cls(
            stdin=query.flag("input") or query.flag("stdin"),
            stdout=query.flag("output") or query.flag("stdout"),
            stderr=stderr and not tty,
            tty=tty,
        )

    @property
    def any(self) -> bool:
        return self.stdin or self.stdout or self.stderr


class Session(Protocol):
    """A client that streams to and from a process."""

    def stdin(self) -> AsyncIterator[bytes]:
        """What the client sends; ends when it closes its side."""

    def sizes(self) -> AsyncIterator[tuple[int, int]]:
        """Width and height of the client's terminal, whenever they change."""

    async def write(self, stream: int, data: bytes) -> None:
        """Send output of stream 1 or 2. Raises ConnectionError."""

    async def finish(self, status: Object) -> None:
        """Tell how it ended and close everything. Never raises."""

    async def gone(self) -> None:
        """Return when the client has left."""


def exit_status(code: int) -> Object:
    """The Status for a command that ended with `code`."""
    if code == 0:
        return SUCCESS
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def failure(message: str) -> Object:
    """The Status for a command that could not be run."""
    return {"metadata": {}, "status": "Failure", "message": message, "reason": "InternalError", "code": 500}


def terminal_size(size: Mapping[str, object]) -> tuple[int, int]:
    """`{"Width": 80, "Height": 24}` → (80, 24). Raises KeyError, ValueError."""
    return int(str(size["Width"])), int(str(size["Height"]))
