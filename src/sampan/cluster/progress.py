"""How far `up` is: lines from the supervisor to the command that waits for it.

The supervisor keeps the writing end of a pipe until the cluster is up or has failed; the command prints what arrives,
each line with the time since it began.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator

import msgspec


class Step(msgspec.Struct, frozen=True, tag=True):
    """Something has been reached."""

    text: str
    component: str = ""


class Up(msgspec.Struct, frozen=True, tag=True):
    """Everything works. The last message."""


class Down(msgspec.Struct, frozen=True, tag=True):
    """It will not work; `component` may be the culprit, whose log tells more. The last message."""

    error: str
    component: str = ""


class Late(Down, frozen=True, tag=True):
    """It may still come to work, but not in the time that was given."""


Progress = Step | Up | Down | Late

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Progress).decode


class Reporter:
    """The writing end. Whoever waits may have gone; that is no error."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def tell(self, progress: Progress) -> None:
        if self._descriptor < 0:
            return
        try:
            os.write(self._descriptor, _encode(progress) + b"\n")
        except OSError:
            self.close()
            return
        if not isinstance(progress, Step):
            self.close()

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def read(descriptor: int, seconds: float) -> Iterator[Progress]:
    """Yields what is told; the last item is Up or Down, at the latest after so many seconds."""
    deadline = time.monotonic() + seconds
    partial = b""
    with open(descriptor, "rb", buffering=0) as pipe:
        while select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
            data = pipe.read(4096)
            if not data:
                yield Down("the supervisor ended")
                return
            *lines, partial = (partial + data).split(b"\n")
            for progress in map(_decode, lines):
                yield progress
                if not isinstance(progress, Step):
                    return
    yield Late(f"not everything works after {seconds:.0f} s")
