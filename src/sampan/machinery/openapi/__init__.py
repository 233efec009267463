"""The OpenAPI documents that clients read: `kubectl explain`, `kubectl apply`, `--dry-run=server`, generators.

Version 2 is one document, as JSON or as the protobuf that older clients ask for; version 3 is one document per group
and version behind an index. All are built from the published schemas (`schemas`) and the table of served resources
(`paths`). Building takes tens of milliseconds: do it off the event loop, and keep the bytes.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from sampan.machinery.openapi import paths, protobuf, schemas
from sampan.machinery.openapi.paths import Resource
from sampan.machinery.schema import Schemas

__all__ = ["Resource", "v2_document", "v2_protobuf", "v3_document", "v3_index"]

_FORMAT = b"1"
"""Counts changes of what is built from the same input, because clients cache documents by their hash."""


def v2_document(source: Schemas, resources: Iterable[Resource]) -> bytes:
    """The version 2 document as JSON."""
    return msgspec.json.encode(_v2(source, resources))


def v2_protobuf(source: Schemas, resources: Iterable[Resource]) -> bytes:
    """The version 2 document as a gnostic `openapi.v2.Document` message, which `kubectl` asks for."""
    return protobuf.encode_document(_v2(source, resources))


def v3_index(source: Schemas, resources: Iterable[Resource]) -> bytes:
    """The list of version 3 documents, each with an address that changes when its contents do."""
    hashes: dict[str, Any] = {}
    for resource in resources:
        name = paths.root(resource.group, resource.version)
        digest = hashes.setdefault(name, hashlib.sha256(_FORMAT + source.release.encode()))
        digest.update(repr((resource.plural, resource.kind, resource.verbs, resource.subresources)).encode())
    found = {
        name: {"serverRelativeURL": f"/openapi/v3/{name}?hash={digest.hexdigest().upper()}"}
        for name, digest in hashes.items()
    }
    return msgspec.json.encode({"paths": found})


def v3_document(source: Schemas, group: str, version: str, resources: Iterable[Resource]) -> bytes:
    """The version 3 document of one group and version; of `resources`, only those in it count."""
    mine = [resource for resource in resources if (resource.group, resource.version) == (group, version)]
    operations = list(paths.operations(source, mine))
    used = {name for operation in operations for name in operation.definitions}
    used |= {source.definition_name((group, version, resource.kind)) for resource in mine} - {""}
    document = {
        "openapi": "3.0.0",
        "info": _info(source),
        "paths": paths.render_v3(operations),
        "components": {"schemas": schemas.render_v3(source, used)},
    }
    return msgspec.json.encode(document)


def _v2(source: Schemas, resources: Iterable[Resource]) -> dict[str, Any]:
    return {
        "swagger": "2.0",
        "info": _info(source),
        "paths": paths.render_v2(paths.operations(source, resources)),
        "definitions": schemas.render_v2(source),
    }


def _info(source: Schemas) -> Mapping[str, str]:
    return {"title": "Kubernetes", "version": f"v{source.release}.0"}
