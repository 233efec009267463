"""Fields that a JSON text gives twice, which a decoded object can no longer show.

Looking costs a slow parse, so that a count comes first: a text has at least one `":` for each of its keys, and as many
as the decoded object has keys only if no key came twice.
"""

import json
from collections.abc import Iterator
from typing import Any


def duplicate_fields(text: bytes, decoded: Any) -> list[str]:
    """The paths of repeated keys in a valid JSON `text`; `decoded` is what it decoded to, unchanged."""
    if b'" ' not in text and text.count(b'":') == _count_keys(decoded):
        return []
    tree = json.loads(text, object_pairs_hook=_Pairs, parse_int=str, parse_float=str)
    return list(dict.fromkeys(_walk(tree, "")))


class _Pairs(list[tuple[str, Any]]):
    """An object as the list of its members."""


def _walk(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for name, item in value:
            inner = f"{path}.{name}" if path else name
            if name in seen:
                yield inner
            seen.add(name)
            yield from _walk(item, inner)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk(item, f"{path}[{index}]")


def _count_keys(value: Any) -> int:
    if type(value) is dict:
        count = len(value)
        for item in value.values():
            if type(item) is dict or type(item) is list:
                count += _count_keys(item)
        return count
    if type(value) is list:
        return sum(_count_keys(item) for item in value)
    return 0
