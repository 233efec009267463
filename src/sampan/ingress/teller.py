"""What people are told of Ingresses: events on them, and lines in the log.

The replica that leads writes them. Each problem is told once, and again when it has come back.
"""

from __future__ import annotations

import asyncio
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

SETTLE_SECONDS = {"NoEndpoints": 10.0}
"""How long a problem must last to be told, by its reason; others a second."""
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
        self.problems: frozenset[Problem] = frozenset()
        """All that hold now."""
        self._unsaid: dict[Problem, float] = {}
        self._timer: asyncio.TimerHandle | None = None
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
        current = frozenset(problems)
        fresh, self.problems = current - self.problems, current
        now = time.monotonic()
        self._unsaid = {one: due for one, due in self._unsaid.items() if one in current}
        self._unsaid |= {one: now + SETTLE_SECONDS.get(one.reason, 1.0) for one in fresh}
        self._say_problems()
        if self._leads:
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
        """Those that have lasted: what is created in another order than it is needed is no problem."""
        now = time.monotonic()
        due = sorted(one for one, moment in self._unsaid.items() if moment <= now)
        if self._timer is not None:
            self._timer.cancel()
        if self._leads:
            by_name = {(one.metadata.namespace, one.metadata.name): one for one in self._seen.values() if due}
            for problem in due:
                log.warning("%s: %s: %s", _shown(problem), problem.reason, problem.message)
                self._say_problem(problem, by_name.get((problem.object.namespace, problem.object.name)))
                del self._unsaid[problem]
        later = [moment for moment in self._unsaid.values() if moment > now]
        if later:
            self._timer = asyncio.get_running_loop().call_later(min(later) - now, self._say_problems)

    def _say_problem(self, problem: Problem, ingress: Ingress | None) -> None:
        source = problem.object
        reference: Object = {
            "kind": source.kind,
            "apiVersion": API_VERSIONS.get(source.kind, "v1"),
            "metadata": {"namespace": source.namespace, "name": source.name},
        }
        regarding = ingress if ingress is not None and source.kind == "Ingress" else reference
        self._event(regarding, "Warning", problem.reason, problem.message)

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
