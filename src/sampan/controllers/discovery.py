"""Which resources the server has: for the controllers that must deal with all of them."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from sampan.client.resources import Resource
from sampan.client.rest import Client
from sampan.machinery.errors import StatusError


@dataclass(frozen=True)
class Served:
    """A resource and what can be done with it."""

    resource: Resource
    verbs: frozenset[str]


@dataclass(frozen=True)
class Discovery:
    """All resources in their groups' preferred versions, and the group-versions that did not answer."""

    served: tuple[Served, ...]
    failed: tuple[str, ...] = ()

    def able(self, *verbs: str) -> list[Resource]:
        return [one.resource for one in self.served if one.verbs.issuperset(verbs)]


class _Version(msgspec.Struct, rename="camel"):
    group_version: str = ""
    version: str = ""


class _Group(msgspec.Struct, rename="camel"):
    name: str = ""
    versions: list[_Version] = []
    preferred_version: _Version | None = None


class _Groups(msgspec.Struct):
    groups: list[_Group] = []


class _Entry(msgspec.Struct):
    name: str = ""
    kind: str = ""
    namespaced: bool = False
    verbs: list[str] = []


class _Entries(msgspec.Struct):
    resources: list[_Entry] = []


async def discover(client: Client) -> Discovery:
    """Ask for everything the server serves. Raises StatusError or OSError when not even the groups can be listed."""
    groups = msgspec.json.decode(await client.call("GET", "/apis"), type=_Groups).groups
    versions = [("", "v1")] + [(group.name, version) for group in groups for version in _order(group)]
    answers = await asyncio.gather(*(_entries(client, group, version) for group, version in versions))
    failed = [f"{g}/{v}" if g else v for (g, v), answer in zip(versions, answers, strict=True) if answer is None]
    return Discovery(tuple(_unique(zip(versions, answers, strict=True))), tuple(failed))


async def _entries(client: Client, group: str, version: str) -> list[_Entry] | None:
    path = f"/apis/{group}/{version}" if group else f"/api/{version}"
    try:
        return msgspec.json.decode(await client.call("GET", path), type=_Entries).resources
    except (StatusError, OSError, msgspec.MsgspecError):
        return None


def _order(group: _Group) -> list[str]:
    """A group's versions, the preferred one first."""
    preferred = group.preferred_version.version if group.preferred_version else ""
    return sorted((one.version for one in group.versions), key=lambda version: version != preferred)


def _unique(
    answers: Iterable[tuple[tuple[str, str], list[_Entry] | None]],
) -> Iterable[Served]:
    """Each resource once, in the first version that has it; subresources left out."""
    seen: set[tuple[str, str]] = set()
    for (group, version), entries in answers:
        for entry in entries or ():
            if "/" not in entry.name and (group, entry.name) not in seen:
                seen.add((group, entry.name))
                yield Served(Resource(group, version, entry.name, entry.kind, entry.namespaced), frozenset(entry.verbs))
