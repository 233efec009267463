"""A piece of work in a process of its own, beside what its starter does meanwhile.

For what takes time on another core or leaves much memory behind, and leaves its result in files.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

log = logging.getLogger(__name__)


class Helper:
    """Forks and does `work`; the process must not have other threads. `wait` must be called."""

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        self._name = name
        self._pid = os.fork()
        if self._pid == 0:
            _do(name, work)

    def wait(self) -> None:
        """Returns when the work is done. Raises HelperFailed; the log has the reason."""
        _, status = os.waitpid(self._pid, 0)
        if status:
            raise HelperFailed(f"{self._name} failed with status {os.waitstatus_to_exitcode(status)}")


class HelperFailed(Exception):
    """The work was not done."""


def _do(name: str, work: Callable[[], None]) -> None:
    status = 1
    try:
        work()
        status = 0
    except BaseException:
        log.exception("%s", name)
    finally:
        logging.shutdown()
        os._exit(status)
