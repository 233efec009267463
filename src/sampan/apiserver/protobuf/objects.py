"""A whole protobuf request body to the object it holds."""

from sampan.apiserver.protobuf.messages import decode_envelope, decode_message, table
from sampan.machinery.errors import BadRequest
from sampan.machinery.objects import Object

_GROUPS = {"": "core", "rbac.authorization.k8s.io": "rbac", "flowcontrol.apiserver.k8s.io": "flowcontrol"}


def decode_object(data: bytes) -> Object:
    """Raises BadRequest."""
    try:
        api_version, kind, raw = decode_envelope(data)
        group, _, version = api_version.rpartition("/")
        name = f"{_GROUPS.get(group) or group.partition('.')[0]}.{version}.{kind}"
        if name not in table():
            name = f"meta.v1.{kind}"
        if name not in table():
            raise BadRequest(f'no kind "{kind}" is registered for version "{api_version}" in protobuf form')
        return {"kind": kind, "apiVersion": api_version, **decode_message(name, raw)}
    except (ValueError, RecursionError, OverflowError) as error:
        raise BadRequest(f"proto: {error}") from None
