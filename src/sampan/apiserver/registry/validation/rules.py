"""What validation of a kind is: two functions, and the checks of single values that many kinds share."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sampan.machinery.errors import FieldError
from sampan.machinery.objects import Object

Errors = list[FieldError]
IMMUTABLE = "field is immutable"


def _same_as_create(create: Callable[[Object], Errors]) -> Callable[[Object, Object], Errors]:
    return lambda new, old: create(new)


@dataclass(frozen=True, slots=True)
class Rules:
    """How a kind is checked when it is made and when it is changed."""

    create: Callable[[Object], Errors]
    update: Callable[[Object, Object], Errors]

    @classmethod
    def of(cls, create: Callable[[Object], Errors]) -> "Rules":
        """The same check on both occasions."""
        return cls(create, _same_as_create(create))


def named(check: Callable[[str], Sequence[str]], value: str, path: str) -> Errors:
    """One error for each complaint of a check in `machinery.names`."""
    return [FieldError.invalid(path, value, message) for message in check(value)]


def one_of(value: str | None, supported: Collection[str], path: str) -> Errors:
    """Required, and one of a set of words."""
    if not value:
        return [FieldError.required(path)]
    return [] if value in supported else [FieldError.not_supported(path, value, sorted(supported))]


def optional_one_of(value: str | None, supported: Collection[str], path: str) -> Errors:
    return one_of(value, supported, path) if value else []


def non_negative(value: int | None, path: str) -> Errors:
    if value is not None and value < 0:
        return [FieldError.invalid(path, value, "must be greater than or equal to 0")]
    return []


def positive(value: int, path: str) -> Errors:
    return [] if value > 0 else [FieldError.invalid(path, value, "must be greater than zero")]


def port(value: int | None, path: str) -> Errors:
    if value is None or not 1 <= value <= 65535:
        return [FieldError.invalid(path, value or 0, "must be between 1 and 65535, inclusive")]
    return []


def immutable(new: Any, old: Any, path: str) -> Errors:
    return [] if new == old else [FieldError.invalid(path, new, IMMUTABLE)]
