"""What clients ask before anything else: which groups, versions and resources there are.

Both forms are built from the resource table: the old one (a document per group and version) and the aggregated one
(all in two documents, `APIGroupDiscoveryList`), which kubectl prefers. They never change while a server runs, so
that they are encoded once.
"""

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from sampan.apiserver.negotiation import Form
from sampan.apiserver.subresources.kinds import subresource_kind, subresource_verbs
from sampan.machinery.objects import Object

if TYPE_CHECKING:
    from sampan.apiserver.catalog import Catalog
    from sampan.apiserver.served import Served

_encode = msgspec.json.encode


class Discovery:
    """The discovery documents of a catalog, as bytes, made when first asked for."""

    def __init__(self, catalog: "Catalog", server_address: str = "") -> None:
        self._catalog = catalog
        self._address = server_address
        self._documents: dict[tuple[str, Form], bytes] = {}

    def document(self, path: str, form: Form) -> bytes | None:
        """The document at `/api`, `/apis`, `/apis/GROUP`, `/api/VERSION` or `/apis/GROUP/VERSION`."""
        key = (path, form)
        if key not in self._documents:
            found = self._build(path, form)
            if found is None:
                return None
            self._documents[key] = _encode(found)
        return self._documents[key]

    def paths(self) -> list[str]:
        """The paths of all groups and versions."""
        found = []
        for group, versions in self._catalog.groups.items():
            root = f"/apis/{group}" if group else "/api"
            found += ([root] if group else []) + [f"{root}/{version}" for version in versions]
        return found

    @staticmethod
    def etag(document: bytes) -> str:
        return '"' + hashlib.sha256(document).hexdigest().upper() + '"'

    def _build(self, path: str, form: Form) -> Object | None:
        match path.rstrip("/").split("/")[1:]:
            case ["api"]:
                return self._aggregated([""], form) if form.kind else self._core_versions()
            case ["apis"]:
                groups = [group for group in self._catalog.groups if group]
                return self._aggregated(groups, form) if form.kind else self._group_list(groups)
            case ["api", version]:
                return self._resource_list("", version)
            case ["apis", group] if group in self._catalog.groups and group:
                return {"kind": "APIGroup", "apiVersion": "v1", **self._group(group)}
            case ["apis", group, version] if group:
                return self._resource_list(group, version)
        return None

    def _core_versions(self) -> Object:
        addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": self._address}]
        versions = list(self._catalog.versions(""))
        return {"kind": "APIVersions", "versions": versions, "serverAddressByClientCIDRs": addresses}

    def _group_list(self, groups: Iterable[str]) -> Object:
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [self._group(group) for group in groups]}

    def _group(self, group: str) -> Object:
        versions = [
            {"groupVersion": f"{group}/{version}", "version": version} for version in self._catalog.versions(group)
        ]
        return {"name": group, "versions": versions, "preferredVersion": versions[0]}

    def _resource_list(self, group: str, version: str) -> Object | None:
        found = self._catalog.versions(group).get(version)
        if found is None:
            return None
        return {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": f"{group}/{version}" if group else version,
            "resources": [entry for served in found for entry in _resource_entries(served)],
        }

    def _aggregated(self, groups: Iterable[str], form: Form) -> Object:
        return {
            "kind": "APIGroupDiscoveryList",
            "apiVersion": f"apidiscovery.k8s.io/{form.version}",
            "metadata": {},
            "items": [self._aggregated_group(group) for group in groups],
        }

    def _aggregated_group(self, group: str) -> Object:
        metadata = {"name": group} if group else {}
        versions = [
            {
                "version": version,
                "freshness": "Current",
                "resources": [_aggregated_resource(served) for served in found],
            }
            for version, found in self._catalog.versions(group).items()
        ]
        return {"metadata": metadata, "versions": versions}


def _resource_entries(served: "Served") -> list[Object]:
    info = served.info
    entry: Object = {
        "name": info.plural,
        "singularName": info.singular,
        "namespaced": info.namespaced,
        "kind": info.kind,
        "verbs": sorted(info.verbs),
    }
    if info.short_names:
        entry["shortNames"] = list(info.short_names)
    if info.categories:
        entry["categories"] = list(info.categories)
    if "watch" in info.verbs:
        entry["storageVersionHash"] = _storage_hash(served)
    return [entry, *(_subresource_entry(served, name) for name in sorted(info.subresources))]


def _subresource_entry(served: "Served", name: str) -> Object:
    group, version, kind = subresource_kind(served.info, name)
    entry: Object = {
        "name": f"{served.info.plural}/{name}",
        "singularName": "",
        "namespaced": served.info.namespaced,
        "kind": kind,
        "verbs": subresource_verbs(name),
    }
    if (group, version) != (served.info.group, served.info.version):
        entry |= {"group": group, "version": version}
    return entry


def _aggregated_resource(served: "Served") -> Object:
    info = served.info
    kind = {"group": info.group, "version": info.version, "kind": info.kind}
    found: Object = {
        "resource": info.plural,
        "responseKind": kind,
        "scope": "Namespaced" if info.namespaced else "Cluster",
        "singularResource": info.singular,
        "verbs": sorted(info.verbs),
    }
    if info.short_names:
        found["shortNames"] = list(info.short_names)
    if info.categories:
        found["categories"] = list(info.categories)
    if info.subresources:
        found["subresources"] = [_aggregated_subresource(served, name) for name in sorted(info.subresources)]
    return found


def _aggregated_subresource(served: "Served", name: str) -> Object:
    group, version, kind = subresource_kind(served.info, name)
    response = {"group": group, "version": version, "kind": kind}
    return {"subresource": name, "responseKind": response, "verbs": subresource_verbs(name)}


def _storage_hash(served: "Served") -> str:
    import base64

    home = served.home.info
    digest = hashlib.sha256(f"{home.group}/{home.version}/{home.kind}".encode()).digest()
    return base64.b64encode(digest[:8]).decode()
