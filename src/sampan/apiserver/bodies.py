"""Request bodies: JSON, YAML or protobuf bytes to plain data, whatever a client may send.

Everything that is wrong with a body becomes one of BadRequest, UnsupportedMediaType or RequestEntityTooLarge.
"""

from typing import Any

import msgspec

from sampan.http.messages import BodyTooLarge
from sampan.http.server import Request
from sampan.machinery.errors import BadRequest, RequestEntityTooLarge, UnsupportedMediaType
from sampan.machinery.objects import Object

JSON = "application/json"
PROTOBUF = "application/vnd.kubernetes.protobuf"
APPLY_PATCH = "application/apply-patch+yaml"
OBJECT_TYPES = (JSON, "application/yaml", PROTOBUF)
_decode_json = msgspec.json.Decoder().decode
_MAX_NODES = 500_000


async def read(request: Request) -> bytes:
    """The raw body. Raises RequestEntityTooLarge."""
    try:
        return await request.read()
    except BodyTooLarge:
        raise RequestEntityTooLarge("Request entity too large: limit is 3145728") from None


def media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() or JSON


async def read_object(request: Request, kind: str) -> Object:
    """A body that is to be an object of `kind`."""
    check_media_type(request)
    return parse_object(await read(request), media_type(request), kind)


def check_media_type(request: Request) -> None:
    """Raises UnsupportedMediaType."""
    if media_type(request) not in OBJECT_TYPES:
        listed = ", ".join(OBJECT_TYPES)
        raise UnsupportedMediaType(
            f"the body of the request was in an unknown format - accepted media types include: {listed}"
        )


def parse_object(data: bytes, form: str, kind: str) -> Object:
    """Raises BadRequest."""
    wrong = f"the object provided is unrecognized (must be of type {kind}): "
    try:
        obj = decode(data, form)
    except BadRequest as error:
        raise BadRequest(wrong + error.message) from None
    if not isinstance(obj, dict):
        raise BadRequest(wrong + "couldn't get version/kind; the body is not an object")
    return obj


def decode(data: bytes, form: str = JSON) -> Any:
    """Raises BadRequest."""
    if form.endswith("yaml"):
        return decode_yaml(data)
    if form == PROTOBUF:
        from sampan.apiserver.protobuf.objects import decode_object

        return decode_object(data)
    try:
        return _decode_json(data)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"couldn't get version/kind; json parse error: {error}") from None


def decode_yaml(data: bytes) -> Any:
    """YAML as the data model of JSON: no tags, no aliases that multiply, keys are strings. Raises BadRequest."""
    import yaml

    from sampan.apiserver.yaml_loader import load

    try:
        return msgspec.to_builtins(_checked(load(data)))
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise BadRequest(f"couldn't get version/kind; yaml parse error: {error}") from None


def _checked(document: Any) -> Any:
    """Refuse a document that aliases make larger than anything a client would write."""
    pending, seen = [document], 0
    while pending:
        value = pending.pop()
        seen += 1
        if seen > _MAX_NODES:
            raise BadRequest("the document has too many nodes")
        if isinstance(value, dict):
            if not all(isinstance(key, str) for key in value):
                raise BadRequest("the keys of an object must be strings")
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)
    return document
