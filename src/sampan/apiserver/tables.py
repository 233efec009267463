"""Server-side tables (meta/v1 Table), which is what `kubectl get` prints.

The columns and cells are the strategy's; this module puts them into the wire form, one row for each object.
"""

import logging
from collections.abc import Sequence
from typing import Any

import msgspec

from sampan.apiserver.strategy import Column, Strategy
from sampan.machinery.objects import Object

log = logging.getLogger(__name__)

TABLE_GROUP = "meta.k8s.io"
ERROR = "<error>"
"""The cell that could not be made of an object."""

_decode = msgspec.json.Decoder(Object).decode
_encode = msgspec.json.Encoder().encode


def table_of(
    strategy: Strategy, values: Sequence[bytes], metadata: Object, version: str, include: str, now: float
) -> Object:
    """A table of encoded objects; `include` says what each row carries beside its cells (None, Metadata, Object)."""
    return {
        "kind": "Table",
        "apiVersion": f"{TABLE_GROUP}/{version}",
        "metadata": metadata,
        "columnDefinitions": [_definition(column) for column in strategy.columns],
        "rows": [_row(strategy, value, version, include, now) for value in values],
    }


def _definition(column: Column) -> Object:
    return {
        "name": column.name,
        "type": column.type,
        "format": column.format,
        "description": column.description,
        "priority": column.priority,
    }


def _row(strategy: Strategy, value: bytes, version: str, include: str, now: float) -> Object:
    obj = _decode(value)
    row: Object = {"cells": _cells(strategy, obj, now)}
    if include == "Object":
        row["object"] = msgspec.Raw(value)
    elif include != "None":
        row["object"] = _partial(obj, version)
    return row


def _cells(strategy: Strategy, obj: Object, now: float) -> list[Any]:
    """The cells of a row. A stored object that the strategy cannot read shows its name and `<error>`s."""
    try:
        cells = strategy.row(obj, now)
        _encode(cells)
    except Exception as wrong:
        meta = obj.get("metadata") or {}
        where = f"{meta.get('namespace', '')}/{meta.get('name', '')}"
        log.warning("%s %s has no table row: %s: %s", strategy.info.plural, where, type(wrong).__name__, wrong)
        return [meta.get("name", "") if column.name == "Name" else ERROR for column in strategy.columns]
    return cells


def _partial(obj: Object, version: str) -> dict[str, Any]:
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"{TABLE_GROUP}/{version}",
        "metadata": obj.get("metadata") or {},
    }
