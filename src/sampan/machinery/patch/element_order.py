"""`$setElementOrder`: the order that the author of a strategic merge patch wants for a merged list.

The author's items come in the author's order, the server's own items keep the server's order, and the two are woven
together so that an item of the server's that stood before one of the author's still does.
"""

from typing import Any


def ordered(items: list[Any], order: list[Any], server: list[Any], merge_key: str) -> list[Any]:
    """`items` (already merged) in the wanted order. `server` is the list before the patch."""
    wanted = _positions(order, merge_key)
    before = _positions(server, merge_key)
    authored = sorted((item for item in items if _key(item, merge_key) in wanted), key=_by(wanted, merge_key))
    others = sorted((item for item in items if _key(item, merge_key) not in wanted), key=_by(before, merge_key))
    return _weave(others, authored, before, merge_key)


def _weave(others: list[Any], authored: list[Any], before: dict[Any, int], merge_key: str) -> list[Any]:
    woven: list[Any] = []
    remaining = list(reversed(authored))
    for other in others:
        position = before.get(_key(other, merge_key), len(before))
        while remaining and not position < before.get(_key(remaining[-1], merge_key), -1):
            woven.append(remaining.pop())
        woven.append(other)
    return woven + remaining[::-1]


def _by(positions: dict[Any, int], merge_key: str) -> Any:
    return lambda item: positions.get(_key(item, merge_key), len(positions))


def _positions(items: list[Any], merge_key: str) -> dict[Any, int]:
    positions: dict[Any, int] = {}
    for index, item in enumerate(items):
        positions.setdefault(_key(item, merge_key), index)
    return positions


def _key(item: Any, merge_key: str) -> Any:
    """What identifies an item: its merge key's value, or itself. Any JSON value may stand there."""
    value = item.get(merge_key) if merge_key and isinstance(item, dict) else item
    return value if not isinstance(value, dict | list) else repr(value)
