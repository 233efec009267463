"""The errors of the Kubernetes API, as exceptions on both sides of the wire.

A server raises one and renders it with `to_status`; a client rebuilds the same exception from the Status it received
with `from_status`. Reasons, codes and messages are those of upstream's apimachinery `StatusReason` values.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec

from sampan.machinery.objects import Object


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field that is wrong: what kind of wrong (`FieldValueInvalid`…), where, the value seen, and why."""

    reason: str
    field: str
    detail: str = ""
    value: Any = None

    @classmethod
    def invalid(cls, field: str, value: Any, detail: str) -> "FieldError":
        return cls("FieldValueInvalid", field, detail, value)

    @classmethod
    def required(cls, field: str, detail: str = "") -> "FieldError":
        return cls("FieldValueRequired", field, detail)

    @classmethod
    def forbidden(cls, field: str, detail: str) -> "FieldError":
        return cls("FieldValueForbidden", field, detail)

    @classmethod
    def duplicate(cls, field: str, value: Any) -> "FieldError":
        return cls("FieldValueDuplicate", field, "", value)

    @classmethod
    def not_supported(cls, field: str, value: Any, supported: Sequence[str]) -> "FieldError":
        listed = ", ".join(f'"{one}"' for one in supported)
        return cls("FieldValueNotSupported", field, f"supported values: {listed}" if supported else "", value)

    @classmethod
    def not_found(cls, field: str, value: Any) -> "FieldError":
        return cls("FieldValueNotFound", field, "", value)

    @classmethod
    def too_long(cls, field: str, limit: int) -> "FieldError":
        return cls("FieldValueTooLong", field, f"may not be more than {limit} bytes")

    @classmethod
    def too_many(cls, field: str, count: int, limit: int) -> "FieldError":
        return cls("FieldValueTooMany", field, f"must have at most {limit} items", count)

    @property
    def message(self) -> str:
        """The sentence that `kubectl` prints after the field's path."""
        text = _FIELD_WORDS[self.reason]
        if self.reason not in _WITHOUT_VALUE:
            text += f": {_show(self.value)}"
        return f"{text}: {self.detail}" if self.detail else text

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


_FIELD_WORDS = {
    "FieldValueInvalid": "Invalid value",
    "FieldValueRequired": "Required value",
    "FieldValueForbidden": "Forbidden",
    "FieldValueDuplicate": "Duplicate value",
    "FieldValueNotSupported": "Unsupported value",
    "FieldValueNotFound": "Not found",
    "FieldValueTooLong": "Too long",
    "FieldValueTooMany": "Too many",
    "FieldValueTypeInvalid": "Invalid value",
}
_WITHOUT_VALUE = frozenset({"FieldValueRequired", "FieldValueForbidden", "FieldValueTooLong"})


def _show(value: Any) -> str:
    return msgspec.json.encode(value).decode()


class StatusError(Exception):
    """An API error: an HTTP code, a machine-readable reason, a message, and details about the object."""

    code: ClassVar[int] = 500
    reason: ClassVar[str] = "InternalError"

    def __init__(self, message: str = "", *, details: Object | None = None, code: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        self.status_code = code or self.code

    def to_status(self) -> Object:
        """The `v1.Status` that goes over the wire."""
        status: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details:
            status["details"] = self.details
        status["code"] = self.status_code
        return status


class BadRequest(StatusError):
    code, reason = 400, "BadRequest"


class Unauthorized(StatusError):
    code, reason = 401, "Unauthorized"

    def __init__(
        self, message: str = "Unauthorized", *, details: Object | None = None, code: int | None = None
    ) -> None:
        super().__init__(message, details=details, code=code)


class Forbidden(StatusError):
    code, reason = 403, "Forbidden"


class NotFound(StatusError):
    code, reason = 404, "NotFound"

    @classmethod
    def of(cls, group: str, plural: str, name: str) -> "NotFound":
        return cls(f'{_qualified(plural, group)} "{name}" not found', details=_details(group, plural, name))


class MethodNotAllowed(StatusError):
    code, reason = 405, "MethodNotAllowed"


class NotAcceptable(StatusError):
    code, reason = 406, "NotAcceptable"


class AlreadyExists(StatusError):
    code, reason = 409, "AlreadyExists"

    @classmethod
    def of(cls, group: str, plural: str, name: str) -> "AlreadyExists":
        return cls(f'{_qualified(plural, group)} "{name}" already exists', details=_details(group, plural, name))


class Conflict(StatusError):
    code, reason = 409, "Conflict"

    @classmethod
    def of(cls, group: str, plural: str, name: str, why: str = "") -> "Conflict":
        why = why or "the object has been modified; please apply your changes to the latest version and try again"
        message = f'Operation cannot be fulfilled on {_qualified(plural, group)} "{name}": {why}'
        return cls(message, details=_details(group, plural, name))


class Gone(StatusError):
    """The resource version asked for is no longer kept (upstream's reason is `Expired`)."""

    code, reason = 410, "Expired"


class RequestEntityTooLarge(StatusError):
    code, reason = 413, "RequestEntityTooLarge"


class UnsupportedMediaType(StatusError):
    code, reason = 415, "UnsupportedMediaType"


class Invalid(StatusError):
    code, reason = 422, "Invalid"

    @classmethod
    def of(cls, group: str, kind: str, name: str, errors: Sequence[FieldError]) -> "Invalid":
        """All field errors of one object; the message is what upstream's `NewInvalid` says."""
        texts = list(dict.fromkeys(map(str, errors)))
        listed = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
        qualified = f"{kind}.{group}" if group else kind
        causes = [{"reason": e.reason, "message": e.message, "field": e.field} for e in errors]
        details = _details(group, kind, name) | {"causes": causes}
        return cls(f'{qualified} "{name}" is invalid: {listed}', details=details)


class TooManyRequests(StatusError):
    code, reason = 429, "TooManyRequests"


class InternalError(StatusError):
    code, reason = 500, "InternalError"


class ServiceUnavailable(StatusError):
    code, reason = 503, "ServiceUnavailable"


class Timeout(StatusError):
    code, reason = 504, "Timeout"


def from_status(status: Object, code: int) -> StatusError:
    """The exception that a received Status stands for. Falls back on the HTTP code when the reason is unknown."""
    reason = status.get("reason") or ""
    kind = _BY_REASON.get(reason) or _BY_CODE.get(code) or StatusError
    return kind(str(status.get("message") or reason or f"HTTP {code}"), details=status.get("details"), code=code)


_KINDS: tuple[type[StatusError], ...] = (
    BadRequest, Unauthorized, Forbidden, NotFound, MethodNotAllowed, NotAcceptable, AlreadyExists, Conflict, Gone,
    RequestEntityTooLarge, UnsupportedMediaType, Invalid, TooManyRequests, InternalError, ServiceUnavailable, Timeout,
)  # fmt: skip
_BY_REASON = {kind.reason: kind for kind in _KINDS} | {"Gone": Gone, "ServerTimeout": Timeout}
_BY_CODE = {kind.code: kind for kind in reversed(_KINDS)}


def _qualified(plural: str, group: str) -> str:
    return f"{plural}.{group}" if group else plural


def _details(group: str, kind: str, name: str) -> Object:
    return {"name": name} | ({"group": group} if group else {}) | {"kind": kind}
