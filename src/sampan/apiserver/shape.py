"""The schema's part in a write: unknown and mistyped fields, nulls, and who manages which field.

The rules are `sampan.machinery`'s; this module says how a request's `fieldValidation` turns them into an error, a
warning or silence.
"""

from typing import Any

from sampan.apiserver.served import Served
from sampan.apiserver.strategy import RequestInfo
from sampan.machinery import times
from sampan.machinery.decoding import DecodingError, cannot_handle, decode, strict_message, strict_problems
from sampan.machinery.duplicates import duplicate_fields
from sampan.machinery.errors import BadRequest
from sampan.machinery.managed_fields import Manager, track
from sampan.machinery.objects import Object
from sampan.machinery.schema import Schemas


def check(served: Served, obj: Object, request: RequestInfo) -> None:
    """Bring the object into the schema's shape, in place.

    Raises BadRequest for a value of a wrong type and, where the request is strict, for unknown and repeated fields.
    """
    try:
        unknown = decode(obj, served.node)
    except DecodingError as error:
        raise cannot_handle(served.info.kind, served.info.version, error.message) from None
    if not isinstance(obj.get("metadata"), dict):
        obj["metadata"] = {}
    if not (unknown or request.repeated):
        return
    if request.field_validation == "Strict":
        raise BadRequest(strict_message(unknown, request.repeated))
    if request.field_validation == "Warn":
        request.warnings += strict_problems(unknown, request.repeated)


def typed(schemas: Schemas, gvk: tuple[str, str, str], obj: Object) -> Object:
    """An object that is not stored (options, a Binding, a review) in its schema's shape. Raises BadRequest."""
    try:
        decode(obj, schemas.definition(gvk))
    except DecodingError as error:
        raise cannot_handle(gvk[2], gvk[1], error.message) from None
    return obj


def look_for_repetition(data: bytes, decoded: Any, request: RequestInfo) -> None:
    """Note the fields that a JSON body gives twice, for `check` to tell; `decoded` is what the body says, unchanged."""
    if request.field_validation != "Ignore":
        request.repeated = duplicate_fields(data, decoded)


def record_create(served: Served, obj: Object, request: RequestInfo) -> None:
    """Note in managedFields that the request's manager owns what it has set."""
    _track(served, None, obj, request)


def record_update(served: Served, new: Object, old: Object, request: RequestInfo) -> None:
    """Note in managedFields what the request's manager has changed."""
    _track(served, old, new, request)


def _track(served: Served, old: Object | None, new: Object, request: RequestInfo) -> None:
    if request.applies:
        return
    manager = Manager(request.field_manager or "unknown", "Update", served.api_version, request.subresource)
    track(old, new, served.node, manager, times.now())
