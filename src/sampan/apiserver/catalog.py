"""Every resource served, findable by path, by group and by kind: the index over the table in `resources.py`."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from sampan.apiserver.served import Served
from sampan.apiserver.strategy import Services
from sampan.store.interface import Store

if TYPE_CHECKING:
    from sampan.apiserver.resources import ResourceInfo


class Catalog:
    """The served resources of one server; groups and versions keep the table's order, preferred first."""

    def __init__(self, infos: Iterable["ResourceInfo"], store: Store, services: Services) -> None:
        self._by_path: dict[tuple[str, str, str], Served] = {}
        self._preferred: dict[tuple[str, str], Served] = {}
        self.groups: dict[str, dict[str, list[Served]]] = {}
        self.kinds: dict[tuple[str, str, str], Served] = {}
        homes: dict[str, Served] = {}
        for info in infos:
            served = Served(info, store, services)
            served.home = homes.setdefault(info.storage, served)
            self._add(served)

    def _add(self, served: Served) -> None:
        info = served.info
        self._by_path[info.group, info.version, info.plural] = served
        self._preferred.setdefault((info.group, info.plural), served)
        self.groups.setdefault(info.group, {}).setdefault(info.version, []).append(served)
        self.kinds.setdefault((info.group, info.version, info.kind), served)

    def find(self, group: str, version: str, plural: str) -> Served | None:
        return self._by_path.get((group, version, plural))

    def named(self, resource: str) -> Served:
        """`services`, or `deployments.apps`, in its preferred version. Raises KeyError."""
        plural, _, group = resource.partition(".")
        return self._preferred[group, plural]

    def versions(self, group: str) -> Mapping[str, list[Served]]:
        return self.groups.get(group, {})

    def __iter__(self) -> Iterator[Served]:
        return iter(self._by_path.values())
