"""Writes a revision into an encoded object, so that an object is encoded once and never parsed to be stored.

The API server encodes objects with `"resourceVersion":""` in their metadata; only the store knows the number. Inside a
JSON string the quotes would be escaped, so the slot cannot be imitated by a field's value.
"""

SLOT = b'"resourceVersion":""'


def _filled(revision: int) -> bytes:
    return b'"resourceVersion":"%d"' % revision


def stamp(value: bytes, revision: int) -> bytes:
    """Fills the first empty slot; a value without one is returned as it is."""
    return value.replace(SLOT, _filled(revision), 1)


def restamp(value: bytes, old: int, new: int) -> bytes:
    """Changes a stamp that `stamp` has written."""
    return value.replace(_filled(old), _filled(new), 1)
