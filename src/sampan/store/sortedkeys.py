"""Keys in order: an index for prefix scans that stays cheap to change at hundreds of thousands of keys.

A list of sorted chunks. Inserting moves at most one chunk's tail; a scan finds its chunk by bisecting the chunks'
first keys. `mirror.py` keeps one beside its dictionary of entries.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator
from itertools import chain, islice

CHUNK = 1024

# Sorts after every character that may follow a prefix.
_LAST = chr(0x10FFFF)


class SortedKeys:
    def __init__(self, keys: Iterable[str] = ()) -> None:
        ordered = sorted(keys)
        self._chunks = [ordered[start : start + CHUNK] for start in range(0, len(ordered), CHUNK)]
        self._firsts = [chunk[0] for chunk in self._chunks]

    def add(self, key: str) -> None:
        """Adds a key that is not there yet."""
        if not self._chunks:
            self._chunks, self._firsts = [[key]], [key]
            return
        at = max(bisect_right(self._firsts, key) - 1, 0)
        chunk = self._chunks[at]
        insort(chunk, key)
        self._firsts[at] = chunk[0]
        if len(chunk) > 2 * CHUNK:
            self._chunks.insert(at + 1, chunk[CHUNK:])
            self._firsts.insert(at + 1, chunk[CHUNK])
            del chunk[CHUNK:]

    def remove(self, key: str) -> None:
        """Removes a key that is there."""
        at = bisect_right(self._firsts, key) - 1
        chunk = self._chunks[at]
        del chunk[bisect_left(chunk, key)]
        if chunk:
            self._firsts[at] = chunk[0]
        else:
            del self._chunks[at], self._firsts[at]

    def below(self, prefix: str, after: str = "") -> list[str]:
        """The keys that start with `prefix` and sort after `after`, in order."""
        start = max(prefix, after + "\0") if after else prefix
        return list(self._between(start, prefix + _LAST))

    def _between(self, start: str, end: str) -> Iterator[str]:
        first = max(bisect_right(self._firsts, start) - 1, 0)
        last = bisect_left(self._firsts, end)
        chunks = self._chunks[first:last]
        if not chunks:
            return iter(())
        low = bisect_left(chunks[0], start)
        high = sum(map(len, chunks[:-1])) + bisect_left(chunks[-1], end)
        return islice(chain.from_iterable(chunks), low, high)
