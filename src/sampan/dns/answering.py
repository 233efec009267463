"""What stands behind the sockets of a DNS server: whoever turns packets into answers (`responder`, or a relay)."""

from collections.abc import Coroutine
from typing import Any, Protocol

Later = Coroutine[Any, Any, bytes]
"""An answer that takes time. It may have begun, so that only a task can go on with it: `create_task(later)`.
If it is empty, nothing is to be sent."""


class Answering(Protocol):
    """Gives for a packet the whole answer, or what will give it, or None for what must not be answered."""

    def answer_udp(self, packet: bytes, client: Any, /) -> bytes | Later | None: ...

    def answer_tcp(self, packet: bytes, client: Any, /) -> bytes | Later | None: ...

    def observe(self, seconds: float, times: int, /) -> None:
        """So many packets were answered at once in so much time."""
