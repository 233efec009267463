"""ResourceQuota admission: an object that would take its namespace over a hard limit is refused.

Usage is counted from what is stored, and in a namespace with quotas the objects they limit are stored one after the
other, so that no two spend the same allowance. The quota's status, which people look at, is written by a controller.
The words are those of upstream's resourcequota plugin.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from sampan.api import quotas
from sampan.api.quotas import Usage
from sampan.apiserver.served import Served
from sampan.apiserver.strategy import RequestInfo
from sampan.machinery.errors import Forbidden
from sampan.machinery.objects import Object, metadata
from sampan.machinery.quantity import ZERO
from sampan.store.interface import Store

if TYPE_CHECKING:
    from sampan.apiserver.catalog import Catalog


class QuotaAdmission:
    """The quotas of one server's namespaces."""

    def __init__(self, store: Store, catalog: "Catalog") -> None:
        self._store = store
        self._catalog = catalog
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def admitted(self, served: Served, obj: Object, request: RequestInfo) -> AsyncIterator[None]:
        """Store the object inside of this. Raises Forbidden."""
        limiting = self._limiting(served, request.namespace)
        if not limiting:
            yield
            return
        turn = self._turns.get(request.namespace)
        if turn is None:
            turn = self._turns[request.namespace] = asyncio.Lock()
        async with turn:
            stored = [served.decode(entry) for entry in self._store.scan(served.scope(request.namespace))]
            check(_resource(served), obj, limiting, lambda names: quotas.total(_resource(served), stored, names))
            yield

    def _limiting(self, served: Served, namespace: str) -> Sequence[Object]:
        """The namespace's quotas that say something about a kind."""
        if not served.info.namespaced:
            return ()
        home = self._catalog.named("resourcequotas")
        found = [home.decode(entry) for entry in self._store.scan(home.scope(namespace))]
        resource = _resource(served)
        return [
            quota
            for quota in found
            if not quotas.has_scopes(quota)
            and any(quotas.resource_of(name) == resource for name in quotas.hard_limits(quota))
        ]


def check(resource: str, obj: Object, limiting: Sequence[Object], used: Callable[[Sequence[str]], Usage]) -> None:
    """Raises Forbidden; `used` gives what the stored objects take of the named amounts."""
    for quota in limiting:
        hard = quotas.hard_limits(quota)
        wanted = quotas.usage(resource, obj, hard)
        missing = [name for name in hard if name not in wanted and quotas.is_compute(name)]
        if missing and resource == "pods":
            why = f"failed quota: {metadata(quota)['name']}: must specify {_missing(obj, missing)}"
            raise _forbidden(resource, obj, why)
        taken = used(sorted(wanted))
        over = [name for name in sorted(wanted) if wanted[name] and taken.get(name, ZERO) + wanted[name] > hard[name]]
        if over:
            raise _forbidden(resource, obj, _exceeded(metadata(quota)["name"], over, wanted, taken, hard))


def _missing(pod: Object, names: Iterable[str]) -> str:
    containers = ",".join(one.get("name", "") for one in pod["spec"].get("containers") or ())
    return "; ".join(f"{name} for: {containers}" for name in sorted(names))


def _exceeded(name: str, over: Sequence[str], wanted: Usage, used: Usage, hard: Usage) -> str:
    requested = ",".join(f"{one}={wanted[one]}" for one in over)
    current = ",".join(f"{one}={used.get(one, ZERO)}" for one in over)
    limited = ",".join(f"{one}={hard[one]}" for one in over)
    return f"exceeded quota: {name}, requested: {requested}, used: {current}, limited: {limited}"


def _resource(served: Served) -> str:
    info = served.info
    return f"{info.plural}.{info.group}" if info.group else info.plural


def _forbidden(resource: str, obj: Object, why: str) -> Forbidden:
    name = metadata(obj).get("name", "")
    kind = resource.partition(".")[0]
    return Forbidden(f'{resource} "{name}" is forbidden: {why}', details={"name": name, "kind": kind})
