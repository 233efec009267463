"""Runs every test that takes `open_store` once per store."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from sampan.store.history import Limits
from sampan.store.interface import Store
from sampan.store.memory import MemoryStore
from sampan.store.sqlite import SQLiteStore

OpenStore = Callable[..., AbstractAsyncContextManager[Store]]

STORES: dict[str, Callable[[Path, Limits], Store]] = {
    "memory": lambda _, limits: MemoryStore(limits),
    "sqlite": lambda directory, limits: SQLiteStore(directory / "store.sqlite", limits),
}


@pytest.fixture(params=sorted(STORES))
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> OpenStore:
    """A function that opens the store under test, closed at the end of its `async with`."""

    @asynccontextmanager
    async def opened(limits: Limits | None = None) -> AsyncIterator[Store]:
        store = STORES[request.param](tmp_path, limits or Limits())
        try:
            yield store
        finally:
            await store.close()

    return opened
