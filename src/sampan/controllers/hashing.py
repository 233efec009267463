"""Short hashes that name revisions: the `pod-template-hash` of ReplicaSets and the names of ControllerRevisions.

A hash is FNV-1a over the object's canonical JSON, written in the alphabet of generated names, so that it can be a label
and the end of a name. A collision count, kept in the owner's status, changes the hash when two templates clash.
"""

from functools import lru_cache
from typing import Any

import msgspec

from sampan.machinery.names import safe_encode

_OFFSET, _PRIME, _MASK = 0x811C9DC5, 0x01000193, 0xFFFFFFFF


def fnv32a(data: bytes) -> int:
    """The 32-bit FNV-1a hash (draft-eastlake-fnv)."""
    value = _OFFSET
    for byte in data:
        value = ((value ^ byte) * _PRIME) & _MASK
    return value


def object_hash(obj: Any, collision_count: int | None = None) -> str:
    """The safe-encoded hash of an object, mixed with the number of collisions met so far."""
    return _encoded(msgspec.json.encode(obj, order="deterministic"), collision_count)


@lru_cache(maxsize=1024)
def _encoded(data: bytes, collision_count: int | None) -> str:
    if collision_count is not None:
        data += collision_count.to_bytes(8, "little", signed=True)
    return safe_encode(str(fnv32a(data)))
