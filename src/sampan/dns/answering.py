"""The interface between a DNS server's sockets and what answers their packets (`responder`, or a relay)."""

from collections.abc import Coroutine
from typing import Any, Protocol

Later = Coroutine[Any, Any, bytes]
"""An answer that takes time. It may have begun, so that only a task can go on with it: `create_task(later)`.
If it is empty, nothing is to be sent."""


class Answering(Protocol):
    """Gives the whole answer to a packet, a coroutine that returns it, or None if it must not be answered."""

    def answer_udp(self, packet: bytes, client: Any, /) -> bytes | Later | None: ...

    def answer_tcp(self, packet: bytes, client: Any, /) -> bytes | Later | None: ...

    def observe(self, seconds: float, times: int, /) -> None:
        """Record that a batch of `times` packets took `seconds`."""
