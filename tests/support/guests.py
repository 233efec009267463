"""Tests in guests (uml.py), one guest after another, beside those on this machine: each has use for one core only."""

import os
import threading
from collections.abc import Mapping
from concurrent.futures import Future

import pytest

from sampan.kernel import ipvs
from support import uml


def missing() -> str:
    """Why there can be no guest here, or why there is no need of one; empty if there can."""
    if ipvs.loaded():
        return "this kernel has IPVS"
    return "needs root" if os.geteuid() else uml.missing()


class Outcomes:
    """Runs what the marks say, `guest(SELECTION…, seconds=…)`, by the names of the tests that wait for it."""

    def __init__(self, wanted: Mapping[str, pytest.Mark]) -> None:
        self._futures: dict[str, Future[uml.Outcome]] = {name: Future() for name in wanted}
        threading.Thread(target=self._run, args=(dict(wanted),), daemon=True).start()

    def _run(self, wanted: Mapping[str, pytest.Mark]) -> None:
        for name, mark in wanted.items():
            future = self._futures[name]
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(uml.run_pytest(*mark.args, seconds=mark.kwargs["seconds"]))
            except Exception as error:
                future.set_exception(error)

    def of(self, name: str) -> uml.Outcome:
        return self._futures[name].result()

    def close(self) -> None:
        """End what still runs."""
        for future in self._futures.values():
            future.cancel()
        uml.end_all()
