"""Valid objects and what chance makes of them: changed values, changed bytes, changed queries."""

import random
from copy import deepcopy
from pathlib import Path
from typing import Any

import msgspec
import yaml

Object = dict[str, Any]

VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**53, -(2**63), 1.5, 1e308, "", " ", "a", "A_b", "x" * 300, "1", "-1", "10%",
    "0x10", "1e400", "1E3Ki", "\x00", "é", "😀", "a/b/c", "../..", "${A}", "2026-13-45T99:99:99Z", "10.0.0.1", "::1",
    "10.0.0.0/33", "None", "null", [], {}, [[]], [None], [{}], {"": ""}, {"a": {"b": {"c": []}}}, ["a", "a"],
]  # fmt: skip
KEYS = [
    "",
    "metadata",
    "spec",
    "name",
    "$patch",
    "$retainKeys",
    "$setElementOrder/ports",
    "$deleteFromPrimitiveList/x",
    "é",
]
QUERY = [
    "dryRun", "fieldManager", "fieldValidation", "force", "limit", "continue", "labelSelector", "fieldSelector",
    "resourceVersion", "resourceVersionMatch", "pretty", "gracePeriodSeconds", "propagationPolicy", "timeoutSeconds",
    "sendInitialEvents", "includeObject", "orphanDependents", "preconditions",
]  # fmt: skip
QUERY_VALUES = [
    "", "All", "true", "0", "1", "-1", "99999999999999999999", "a", "a=b", "a in (b,c)", "!a", "a in (",
    "metadata.name=x", "metadata.name!=x", "spec.type=ClusterIP", "spec.nope=1", "Strict", "Ignore", "Exact",
    "NotOlderThan", "Foreground", "Orphan", "%00", "%ff", "%", "Object", "=,=", "WzEsIngiXQ", "a" * 2000,
]  # fmt: skip
ACCEPTS = [
    "", "*/*", "application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "text/html",
    ";;,,", "application/json;as=Table;v=v1;g=meta.k8s.io", "application/json;as=Table;v=v1beta1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", "application/json;q=x", "application/json;as=Nope",
]  # fmt: skip

SEEDS: dict[str, Object] = yaml.safe_load(Path(__file__).with_name("valid_objects.yaml").read_text())
"""A valid object, without metadata, for each of these collections."""


def seed(collection: str) -> Object:
    return {"metadata": {"name": "x", "labels": {"app": "x"}, "annotations": {"n": "1"}}} | deepcopy(SEEDS[collection])


class Mutator:
    """The same seed gives the same sequence."""

    def __init__(self, number: int) -> None:
        self.random = random.Random(number)

    def changed(self, obj: Any, times: int = 1) -> Any:
        """`obj` with some of its values replaced, removed, renamed or doubled, in place."""
        for _ in range(times):
            holder, key = self._place(obj)
            self._change(holder, key)
        return obj

    def _place(self, obj: Any) -> tuple[Any, Any]:
        places = [(holder, key) for holder in _holders(obj) for key in _keys(holder)]
        return self.random.choice(places) if places else ({"x": None}, "x")

    def _change(self, holder: Any, key: Any) -> None:
        match self.random.randrange(6):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[self.random.choice(KEYS)] = holder.pop(key)
            case 2 if isinstance(holder, list):
                holder.append(deepcopy(holder[key]))
            case 3 if isinstance(holder, dict):
                holder[self.random.choice(KEYS)] = self.value()
            case _:
                holder[key] = self.value()

    def value(self) -> Any:
        return deepcopy(self.random.choice(VALUES))

    def damaged(self, data: bytes) -> bytes:
        """`data` with some bytes changed, cut out, doubled or put in."""
        found = bytearray(data)
        for _ in range(self.random.randint(1, 4)):
            at = self.random.randrange(len(found) + 1)
            match self.random.randrange(4):
                case 0:
                    found[at : at + 1] = bytes([self.random.randrange(256)])
                case 1:
                    del found[at : at + self.random.randint(1, 20)]
                case 2:
                    found[at:at] = found[at : at + self.random.randint(1, 20)]
                case 3:
                    found[at:at] = self.random.choice([b"{", b"]", b'"', b"\x00", b"\xff\xff", b": ", b"- ", b"&a *a"])
        return bytes(found)

    def json_patch(self, obj: Any) -> Any:
        """A JSON patch that fits `obj` more or less."""
        paths = ["", "/", "/metadata/labels/app", "/spec/-", "/spec/ports/0", "/spec/ports/-", "/spec/ports/99", "/~2",
                 "/kind", "/metadata/name", "/spec/replicas", "/data/a", "/metadata"]  # fmt: skip
        operations = ["add", "remove", "replace", "move", "copy", "test", "nope"]
        patch = [
            {"op": self.random.choice(operations), "path": self.random.choice(paths), "value": self.value(),
             "from": self.random.choice(paths)}
            for _ in range(self.random.randint(0, 3))
        ]  # fmt: skip
        return self.changed(patch) if self.random.random() < 0.2 else patch

    def query(self) -> str:
        if self.random.random() < 0.4:
            return ""
        parts = [
            f"{self.random.choice(QUERY)}={self.random.choice(QUERY_VALUES).replace(' ', '+')}"
            for _ in range(self.random.randint(1, 3))
        ]
        return "?" + "&".join(parts)


def _holders(value: Any) -> list[Any]:
    """All objects and lists in a value."""
    found, pending = [], [value]
    while pending:
        one = pending.pop()
        if isinstance(one, (dict, list)):
            found.append(one)
            pending.extend(one.values() if isinstance(one, dict) else one)
    return found


def _keys(holder: Any) -> list[Any]:
    return list(holder) if isinstance(holder, dict) else list(range(len(holder)))


def encoded(value: Any) -> bytes:
    return msgspec.json.encode(value)
