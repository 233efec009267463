"""Health checks of this node's agent, by its /healthz port (kubelet's --healthz-port, 10248)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from urllib.parse import urlsplit

log = logging.getLogger(__name__)

INTERVAL = 0.5
ANSWER_SECONDS = 0.8
UNHEALTHY_AFTER = 1.3
"""Seconds without a success after which the agent counts as unhealthy: longer than its restart takes."""


class NodeHealth:
    """Checks while `is_enabled`, and calls `changed` when the result changes.

    The agent counts as healthy until something has listened on the port, because it may have no such port.
    """

    def __init__(self, url: str, changed: Callable[[], None]) -> None:
        parts = urlsplit(url)
        self._host, self._port, self._path = parts.hostname or "", parts.port or 80, parts.path or "/"
        self._changed = changed
        self._last_success: float | None = None
        self._listens = False
        self._was_healthy = True
        self._enabled = asyncio.Event()

    @property
    def is_enabled(self) -> bool:
        return self._enabled.is_set()

    @is_enabled.setter
    def is_enabled(self, enabled: bool) -> None:
        if not enabled:
            self._enabled.clear()
        elif not self._enabled.is_set():
            self._last_success, self._listens = None, False
            self._enabled.set()

    def is_healthy(self, now: float) -> bool:
        if not self._listens:
            return True
        return self._last_success is not None and now - self._last_success <= UNHEALTHY_AFTER

    async def run(self) -> None:
        """Check until cancelled."""
        while self._host:
            await self._enabled.wait()
            answered = await self._ask()
            now = asyncio.get_running_loop().time()
            if answered:
                self._last_success, self._listens = now, True
            if self.is_healthy(now) != self._was_healthy:
                self._was_healthy = not self._was_healthy
                log.warning("the node's agent %s", "answers" if self._was_healthy else "does not answer")
                self._changed()
            await asyncio.sleep(INTERVAL if answered else INTERVAL / 2)

    async def _ask(self) -> bool:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._request()
        except TimeoutError:
            self._listens = True  # something listens, but it is stopped or hangs
            return False
        except OSError:
            return False

    async def _request(self) -> bool:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            request = f"GET {self._path} HTTP/1.1\r\nHost: {self._host}\r\nConnection: close\r\n\r\n"
            writer.write(request.encode())
            status = await reader.readline()
            return status.split(b" ")[1:2] == [b"200"]
        except ValueError:  # a line without end
            return False
        finally:
            writer.close()
