"""What a conversion is, and the one that changes nothing but the version's name."""

from collections.abc import Callable
from dataclasses import dataclass

from sampan.machinery.decoding import cannot_handle
from sampan.machinery.objects import Object

Convert = Callable[[Object], Object]


@dataclass(frozen=True, slots=True)
class Conversion:
    """Another form of a kind; the functions set apiVersion and never change their argument.

    `warning` goes to clients of deprecated forms in a Warning header, and is empty for forms that are there to stay.
    """

    to_storage: Convert
    from_storage: Convert
    warning: str = ""


def deprecated(old: str, kind: str, since: str, gone: str, new: str) -> str:
    """The warning, in upstream's words."""
    return f"{old} {kind} is deprecated in v{since}+, unavailable in v{gone}+; use {new} {kind}"


def stamped(api_version: str, change: Convert = dict) -> Convert:
    """`change`, after which the object says that it is of `api_version`.

    No schema is published for old forms: that an object has not the shape of its form shows in the attempt to change
    it, and is a BadRequest.
    """

    def convert(obj: Object) -> Object:
        try:
            return change(obj) | {"apiVersion": api_version}
        except (AttributeError, KeyError, TypeError, ValueError):
            kind, version = str(obj.get("kind", "")), str(obj.get("apiVersion", "")).rpartition("/")[2]
            raise cannot_handle(
                kind, version, f"json: cannot unmarshal into Go value of type {version}.{kind}"
            ) from None

    return convert
