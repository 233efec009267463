"""Request bodies: JSON, YAML or protobuf bytes to plain data, whatever a client may send.

Everything that is wrong with a body becomes one of BadRequest, UnsupportedMediaType or RequestEntityTooLarge.
"""

import asyncio
import subprocess
import sys
from typing import Any

import msgspec

from sampan.http.messages import BodyTooLarge
from sampan.http.server import Request
from sampan.machinery.errors import BadRequest, RequestEntityTooLarge, TooManyRequests, UnsupportedMediaType
from sampan.machinery.objects import Object

JSON = "application/json"
PROTOBUF = "application/vnd.kubernetes.protobuf"
APPLY_PATCH = "application/apply-patch+yaml"
OBJECT_TYPES = (JSON, "application/yaml", PROTOBUF)
_decode_json = msgspec.json.Decoder().decode

_INLINE_YAML = 8 * 1024
"""YAML of more bytes than this is read by a process of its own: the event loop would stand still meanwhile."""

_CONVERSION_SECONDS = 30.0
_converters = asyncio.Semaphore(2)


async def read(request: Request) -> bytes:
    """The body; large YAML has become JSON. Raises RequestEntityTooLarge, BadRequest."""
    data = await read_raw(request)
    if len(data) > _INLINE_YAML and media_type(request).endswith("yaml") and not _is_json(data):
        return await _converted(data)
    return data


async def read_raw(request: Request) -> bytes:
    """The body as it was sent. Raises RequestEntityTooLarge."""
    try:
        return await request.read()
    except BodyTooLarge:
        raise RequestEntityTooLarge("Request entity too large: limit is 3145728") from None


def _is_json(data: bytes) -> bool:
    try:
        _decode_json(data)
    except (ValueError, RecursionError):
        return False
    return True


async def _converted(data: bytes) -> bytes:
    """YAML as JSON, by a process that is killed when it takes too long. Raises BadRequest, TooManyRequests."""
    if _converters.locked():
        raise TooManyRequests(
            "too many large YAML bodies at once, please try again later", details={"retryAfterSeconds": 1}
        )
    async with _converters:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "sampan.apiserver.yaml_loader",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(_CONVERSION_SECONDS):
                converted, wrong = await process.communicate(data)
        except TimeoutError:
            raise BadRequest("couldn't get version/kind; yaml parse error: it takes too long") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    if process.returncode:
        raise BadRequest(f"couldn't get version/kind; yaml parse error: {wrong.decode(errors='replace')}")
    return converted


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
    """YAML as the data model of JSON: no tags, no aliases that multiply, keys are strings. Raises BadRequest.

    JSON is YAML too, and what kubectl sends to apply; it is read as such.
    """
    try:
        return _decode_json(data)
    except (ValueError, RecursionError):
        pass
    import yaml

    from sampan.apiserver.yaml_loader import load

    try:
        return msgspec.to_builtins(load(data))
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise BadRequest(f"couldn't get version/kind; yaml parse error: {error}") from None
