"""JSON merge patch (RFC 7386): what `kubectl patch --type=merge` sends and most of our own components write with."""

from typing import Any

from sampan.machinery.objects import Object, equal


def merge_patch(target: Any, patch: Any) -> Any:
    """Apply `patch`: objects merge, null deletes, everything else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def merge_diff(old: Object, new: Object) -> Object:
    """The smallest merge patch that turns `old` into `new`, empty if they are equal.

    Only for objects without nulls, which a merge patch cannot express.
    """
    patch: Object = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            if inner := merge_diff(before, value):
                patch[key] = inner
        elif key not in old or not equal(before, value):
            patch[key] = value
    return patch
