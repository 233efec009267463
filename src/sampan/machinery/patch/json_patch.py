"""JSON patch (RFC 6902), with the two liberties of the library that upstream uses: negative indexes, and a test for
null that holds where there is nothing."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from sampan.machinery.errors import RequestEntityTooLarge
from sampan.machinery.objects import Object, copy, equal
from sampan.machinery.patch.errors import BadPatch, PatchDoesNotApply

_MAX_OPERATIONS = 10_000
_MAX_COPIED = 3 * 1024 * 1024
"""Bytes that the copy operations of one patch may add: without a limit each could double the document."""

_MISSING = object()
_encode = msgspec.json.encode


class _Root(dict[str, Any]):
    """The document, which the empty step leads to, and how many bytes were copied within it."""

    copied = 0


def json_patch(document: Object, patch: Any) -> Object:
    """Apply the operations of `patch` in order, all or none.

    Raises BadPatch for what is not a patch, PatchDoesNotApply when an operation has nothing to work on or a test fails.
    """
    if not isinstance(patch, list) or not all(isinstance(operation, dict) for operation in patch):
        raise BadPatch("error decoding patch: a JSON patch must be an array of operations")
    if len(patch) > _MAX_OPERATIONS:
        message = f"The allowed maximum operations in a JSON patch is {_MAX_OPERATIONS}, got {len(patch)}"
        raise RequestEntityTooLarge(message)
    root = _Root({"": copy(document)})
    for operation in patch:
        _apply(root, operation)
    result = root.get("")
    if not isinstance(result, dict):
        raise PatchDoesNotApply("the patched document is not an object")
    return result


def _apply(root: _Root, operation: Object) -> None:
    name = operation.get("op")
    apply = _OPERATIONS.get(name) if isinstance(name, str) else None
    if apply is None:
        raise BadPatch(f"Unexpected kind: {name or 'unknown'}")
    apply(root, operation)


def _add(root: Object, operation: Object) -> None:
    _insert(root, _pointer(operation, "path"), _value(operation), "add")


def _remove(root: Object, operation: Object) -> None:
    _take(root, _pointer(operation, "path"), "remove")


def _replace(root: Object, operation: Object) -> None:
    path, value = _pointer(operation, "path"), _value(operation)
    holder = _holder(root, path, "replace")
    if isinstance(holder, list):
        holder[_index(holder, path, len(holder) - 1, "replace")] = value
    elif path[-1] in holder:
        holder[path[-1]] = value
    else:
        raise _no_key(path, "replace")


def _move(root: Object, operation: Object) -> None:
    source, target = _pointer(operation, "from"), _pointer(operation, "path")
    if len(target) > len(source) and target[: len(source)] == source:
        raise PatchDoesNotApply(f"move operation does not apply: {_show(target)} is inside {_show(source)}")
    _insert(root, target, _take(root, source, "move"), "move")


def _copy(root: _Root, operation: Object) -> None:
    source = _pointer(operation, "from")
    value = _get(_holder(root, source, "copy"), source, "copy")
    if value is _MISSING:
        raise _no_key(source, "copy")
    root.copied += len(_encode(value))
    if root.copied > _MAX_COPIED:
        raise PatchDoesNotApply(
            f"Unable to complete the copy, the accumulated size increase of copy is {root.copied}, "
            f"exceeding the limit {_MAX_COPIED}"
        )
    _insert(root, _pointer(operation, "path"), copy(value), "copy")


def _test(root: Object, operation: Object) -> None:
    path, expected = _pointer(operation, "path"), operation.get("value")
    found = _get(_holder(root, path, "test"), path, "test")
    if not equal(None if found is _MISSING else found, expected):
        raise PatchDoesNotApply(f"testing value {_show(path)} failed: test failed")


_OPERATIONS: Mapping[str, Callable[[_Root, Object], None]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "move": _move,
    "copy": _copy,
    "test": _test,
}


def _pointer(operation: Object, field: str) -> list[str]:
    """The steps of a JSON pointer (RFC 6901), beginning with the empty one that leads to the document."""
    text = operation.get(field)
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise BadPatch(f"{operation['op']} operation has no valid {field}: {text!r}")
    return [step.replace("~1", "/").replace("~0", "~") for step in text.split("/")]


def _value(operation: Object) -> Any:
    if "value" not in operation:
        raise BadPatch(f"{operation['op']} operation has no value")
    return copy(operation["value"])


def _holder(root: Object, path: list[str], name: str) -> Any:
    """The object or list that the last step leads into."""
    holder: Any = root
    for depth in range(1, len(path)):
        holder = _get(holder, path[:depth], name)
        if not isinstance(holder, dict | list):
            raise PatchDoesNotApply(
                f'{name} operation does not apply: doc is missing path: "{_show(path)}": missing value'
            )
    return holder


def _get(holder: Any, path: list[str], name: str) -> Any:
    if isinstance(holder, list):
        return holder[_index(holder, path, len(holder) - 1, name)]
    return holder.get(path[-1], _MISSING)


def _insert(root: Object, path: list[str], value: Any, name: str) -> None:
    holder = _holder(root, path, name)
    if isinstance(holder, dict):
        holder[path[-1]] = value
    elif path[-1] == "-":
        holder.append(value)
    else:
        holder.insert(_index(holder, path, len(holder), name), value)


def _take(root: Object, path: list[str], name: str) -> Any:
    holder = _holder(root, path, name)
    if isinstance(holder, list):
        return holder.pop(_index(holder, path, len(holder) - 1, name))
    if path[-1] not in holder:
        raise _no_key(path, name)
    return holder.pop(path[-1])


def _index(holder: list[Any], path: list[str], highest: int, name: str) -> int:
    """The index that the last step means; a negative one counts from the end."""
    step = path[-1]
    digits = step.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 9 or (len(digits) > 1 and digits[0] == "0"):
        raise PatchDoesNotApply(f'{name} operation does not apply: "{step}" is not an index')
    index = int(step)
    if step.startswith("-"):
        index += highest + 1
    if not 0 <= index <= highest:
        raise PatchDoesNotApply(
            f"{name} operation does not apply: Unable to access invalid index: {step}: invalid index referenced"
        )
    return index


def _no_key(path: list[str], name: str) -> PatchDoesNotApply:
    return PatchDoesNotApply(f"{name} operation does not apply: doc is missing key: {_show(path)}: missing value")


def _show(path: list[str]) -> str:
    return "/".join(step.replace("~", "~0").replace("/", "~1") for step in path)
