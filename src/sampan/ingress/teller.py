"""What people are told of Ingresses: the events on them, and lines in the log.

Every replica logs; the one that leads writes events. Each problem is told once, and again when it has come back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Literal

from sampan.api.networking_v1 import Ingress
from sampan.client.events import EventRecorder
from sampan.client.rest import Client
from sampan.ingress.translate.types import Problem
from sampan.machinery.objects import Object

log = logging.getLogger(__name__)

FRESH_SECONDS = 30.0
"""A new leader tells of changes that are no older: the one before may not have."""
MAX_UNSAID = 1000
COMPONENT = "nginx-ingress-controller"
API_VERSIONS = {"Ingress": "networking.k8s.io/v1", "IngressClass": "networking.k8s.io/v1"}


class Teller:
    """Compares what is to be told with what has been. `tells_creation`: as releases of ingress-nginx before 0.42."""

    def __init__(self, client: Client, *, tells_creation: bool = False, tells_syncs: bool = True) -> None:
        self._recorder = EventRecorder(client, COMPONENT)
        self._tells_creation, self._tells_syncs = tells_creation, tells_syncs
        self._leads = False
        self._problems: frozenset[Problem] = frozenset()
        self._unsaid: set[Problem] = set()
        self._unsaid_syncs: dict[str, tuple[float, Ingress, str]] = {}
        self._seen: dict[str, Ingress] = {}
        self._is_first = True

    def lead(self, leads: bool) -> None:
        """From now on this replica writes events, or does not. A new leader says what holds, and what is fresh."""
        self._leads = leads
        if leads:
            self._say_problems()
            self._say_syncs()

    async def flush(self) -> None:
        """Wait until all events have been written, or given up."""
        await self._recorder.flush()

    def tell(self, served: Sequence[Ingress], problems: Sequence[Problem]) -> None:
        """These are served, and this is wrong with them, and with other objects."""
        for ingress in served:
            self._note(ingress)
        kept = {ingress.metadata.uid for ingress in served}
        for uid in self._seen.keys() - kept:
            gone = self._seen.pop(uid)
            if self._tells_creation:
                self._will_say(gone, "DELETE")
        self._is_first = False
        now = frozenset(problems)
        fresh, self._problems = now - self._problems, now
        for problem in sorted(fresh):
            log.warning("%s: %s: %s", _shown(problem), problem.reason, problem.message)
        self._unsaid = (self._unsaid | fresh) & now
        if self._leads:
            self._say_problems()
            self._say_syncs()

    def _note(self, ingress: Ingress) -> None:
        known = self._seen.get(ingress.metadata.uid)
        self._seen[ingress.metadata.uid] = ingress
        if known is None:
            # At the start there are Ingresses that a controller has told of before; addresses are its trace.
            if not (self._is_first and ingress.status.load_balancer.ingress):
                self._will_say(ingress, "CREATE")
        elif known is not ingress and _differs(known, ingress):
            self._will_say(ingress, "UPDATE")

    def _will_say(self, ingress: Ingress, reason: str) -> None:
        if self._tells_syncs:
            self._unsaid_syncs[ingress.metadata.uid] = (time.monotonic(), ingress, reason)
        if len(self._unsaid_syncs) > MAX_UNSAID and not self._leads:
            del self._unsaid_syncs[next(iter(self._unsaid_syncs))]

    def _say_syncs(self) -> None:
        now = time.monotonic()
        for moment, ingress, reason in self._unsaid_syncs.values():
            if now - moment > FRESH_SECONDS:
                continue
            if self._tells_creation:
                self._event(ingress, "Normal", reason, f"Ingress {ingress.metadata.key}")
            else:
                self._event(ingress, "Normal", "Sync", "Scheduled for sync")
        self._unsaid_syncs.clear()

    def _say_problems(self) -> None:
        by_name = {(one.metadata.namespace, one.metadata.name): one for one in self._seen.values() if self._unsaid}
        for problem in sorted(self._unsaid):
            source = problem.object
            regarding: Ingress | Object | None = None
            if source.kind == "Ingress":
                regarding = by_name.get((source.namespace, source.name))
            regarding = regarding or {
                "kind": source.kind,
                "apiVersion": API_VERSIONS.get(source.kind, "v1"),
                "metadata": {"namespace": source.namespace, "name": source.name},
            }
            self._event(regarding, "Warning", problem.reason, problem.message)
        self._unsaid.clear()

    def _event(
        self, regarding: Ingress | Object, type: Literal["Normal", "Warning"], reason: str, message: str
    ) -> None:
        self._recorder.event(regarding, type, reason, message, kind="Ingress", api_version=API_VERSIONS["Ingress"])


def _shown(problem: Problem) -> str:
    parts = (problem.object.namespace, problem.object.name)
    return f"{problem.object.kind} {'/'.join(part for part in parts if part)}"


def _differs(old: Ingress, new: Ingress) -> bool:
    """Whether more than the status has changed."""
    return (old.spec, old.metadata.annotations) != (new.spec, new.metadata.annotations)
