"""YAML bodies as JSON's data model: strings, numbers, booleans, null, lists, mappings with string keys.

One pass over libyaml's events builds the document and counts it, so that nothing is built that is refused: depth,
nodes (those that aliases repeat too) and keys are checked as they come. PyYAML needs some microseconds for each node
and holds the interpreter meanwhile, so `bodies.read` has larger bodies read by this module run as a process of its
own: YAML on standard input, JSON on standard output, or exit code 1 and the reason on standard error.

Imported when the first YAML body arrives, because PyYAML is slow to import and most clients send JSON.
"""

import re
import sys
from collections.abc import Iterator
from math import isfinite
from typing import Any

import yaml

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MAX_DEPTH = 200
MAX_NODES = 500_000

_is_int = re.compile(r"[-+]?(?:0|[1-9][0-9_]{0,30})").fullmatch
_is_other_int = re.compile(r"([-+]?)0(?:(x)([0-9a-fA-F_]{1,30})|(b)([01_]{1,64})|o?()([0-7_]{1,30}))").fullmatch
_is_float = re.compile(r"[-+]?(?:\.[0-9_]+|[0-9][0-9_]{0,300}(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]{1,4})?").fullmatch
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {
    text: value
    for value, texts in ((True, "true yes on"), (False, "false no off"))
    for word in texts.split()
    for text in (word, word.capitalize(), word.upper())
}
_TAG = "tag:yaml.org,2002:"


def load(data: bytes) -> Any:
    """The one document in `data`. Raises yaml.YAMLError, ValueError."""
    events = iter(yaml.parse(data, Loader=_Loader))
    return _Builder(events).document()


_Collection = tuple[Any, str | None, int]
"""One that has not ended, its anchor, and how many nodes there were before it."""


class _Builder:
    """Builds a document without recursion."""

    def __init__(self, events: Iterator[Any]) -> None:
        self._events = events
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._nodes = 0

    def document(self) -> Any:
        found: list[Any] = []
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if found:
                    raise ValueError("expected a single document in the stream")
                found.append(self._node(next(self._events)))
        return found[0] if found else None

    def _node(self, event: Any) -> Any:
        root: list[Any] = []
        stack: list[_Collection] = [(root, None, 0)]
        keys: list[Any] = [None]
        while True:
            if isinstance(event, yaml.CollectionEndEvent):
                done, anchor, before = stack.pop()
                keys.pop()
                if anchor:
                    self._anchors[anchor] = (done, self._nodes - before)
            else:
                self._place(event, stack, keys)
            if len(stack) == 1:
                return root[0]
            event = next(self._events)

    def _place(self, event: Any, stack: list[_Collection], keys: list[Any]) -> None:
        holder = stack[-1][0]
        before = self._nodes
        value = self._value(event)
        if isinstance(holder, list):
            holder.append(value)
        elif keys[-1] is None:
            keys[-1] = _key(value)
            return
        else:
            holder[keys[-1]] = value
            keys[-1] = None
        if isinstance(event, yaml.CollectionStartEvent):
            if len(stack) > MAX_DEPTH:
                raise ValueError(f"nested more than {MAX_DEPTH} levels deep")
            stack.append((value, event.anchor, before))
            keys.append(None)

    def _value(self, event: Any) -> Any:
        size = 1
        value: Any
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise ValueError("an alias names no anchor that is complete")
            value, size = self._anchors[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            value = _scalar(event)
            if event.anchor:
                self._anchors[event.anchor] = (value, 1)
        else:
            is_list = isinstance(event, yaml.SequenceStartEvent)
            if event.tag not in (None, "!", f"{_TAG}{'seq' if is_list else 'map'}"):
                raise ValueError(f"the tag {event.tag[:64]!r} is not supported")
            value = [] if is_list else {}
        self._nodes += size
        if self._nodes > MAX_NODES:
            raise ValueError("the document has too many nodes")
        return value


def _key(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise ValueError("the keys of an object must be strings")


def _scalar(event: Any) -> Any:
    text = event.value
    if event.implicit[0] and not event.style and event.tag in (None, "!"):
        return _plain(text)
    tag = event.tag or ""
    if tag in ("", "!", f"{_TAG}str"):
        return text
    value = _plain(text)
    kind = {type(None): "null", bool: "bool", int: "int", float: "float"}.get(type(value), "")
    if tag == f"{_TAG}{kind}":
        return value
    if tag == f"{_TAG}float" and kind == "int":
        return float(value)
    raise ValueError(f"the tag {tag[:64]!r} is not supported")


def _plain(text: str) -> Any:
    """A scalar without quotes, as YAML 1.1 reads it, and `0o14` of YAML 1.2, as upstream's parser does."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if text[0] not in "+-.0123456789":
        return text
    if _is_int(text):
        return int(text.replace("_", ""))
    if match := _is_other_int(text):
        sign, _, hexadecimal, _, binary, _, octal = match.groups()
        digits, base = (hexadecimal, 16) if hexadecimal else (binary, 2) if binary else (octal, 8)
        digits = digits.replace("_", "")
        return int(sign + digits, base) if digits else text
    if _is_float(text) and any(char.isdigit() for char in text):
        number = float(text.replace("_", ""))
        return number if isfinite(number) else text
    return text


def _main() -> int:
    import resource

    import msgspec

    resource.setrlimit(resource.RLIMIT_CPU, (30, 30))
    try:
        sys.stdout.buffer.write(msgspec.json.encode(load(sys.stdin.buffer.read())))
    except (yaml.YAMLError, ValueError, TypeError) as wrong:
        sys.stderr.write(str(wrong)[:2000])
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main())
