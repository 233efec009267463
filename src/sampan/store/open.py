"""The table of stores: picks one by URL, so that only the one in use is imported."""

from __future__ import annotations

from collections.abc import Callable

from sampan.store.interface import Store, StoreError


def _memory(_: str) -> Store:
    from sampan.store.memory import MemoryStore

    return MemoryStore()


def _sqlite(path: str) -> Store:
    from sampan.store.sqlite import SQLiteStore

    return SQLiteStore(path)


STORES: dict[str, Callable[[str], Store]] = {"memory": _memory, "sqlite": _sqlite}


def open_store(url: str) -> Store:
    """Opens `memory:` or `sqlite:PATH`. Raises StoreError."""
    scheme, _, rest = url.partition(":")
    if scheme not in STORES:
        raise StoreError(f"unknown store {url!r}: expected one of {', '.join(f'{name}:' for name in STORES)}")
    return STORES[scheme](rest)
