"""Write src/sampan/apiserver/protobuf/fields.txt: the numbers of all fields of the API's protobuf messages.

Every kubectl binary carries the descriptors of the messages that it can send, compressed. This reads them from there
(usage: protobuf_fields.py KUBECTL > fields.txt), so that the table needs no source tree and can be renewed with each
release. The published JSON schemas, which the server has anyway, say which fields are inlined in JSON.
"""

import re
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sampan.machinery.schema import SchemaError, Schemas

GZIP = re.compile(rb"\x1f\x8b\x08\x00{5}\x02\xff")
SCALARS = {1: "double", 3: "int", 5: "int", 8: "bool", 9: "string", 12: "bytes"}
PACKAGES = re.compile(
    r"k8s\.io\.apimachinery\..*|k8s\.io\.api\.(core|apps|batch|networking|rbac|policy|autoscaling|authentication|"
    r"authorization|certificates|coordination|discovery|events|node|scheduling|storage|admissionregistration|"
    r"flowcontrol)\.v[12]\.\w+"
)
POINTERS = """
    activeDeadlineSeconds allocateLoadBalancerNodePorts allowPrivilegeEscalation automountServiceAccountToken
    averageUtilization backoffLimit backoffLimitPerIndex blockOwnerDeletion completions controller defaultMode
    enableServiceLinks expirationSeconds failedJobsHistoryLimit fsGroup gracePeriodSeconds hostUsers immutable
    leaseDurationSeconds leaseTransitions manualSelector maxFailedIndexes minReplicas mode optional orphanDependents
    parallelism partition priority privileged progressDeadlineSeconds readOnlyRootFilesystem ready replicas
    revisionHistoryLimit runAsGroup runAsNonRoot runAsUser serving setHostnameAsFQDN shareProcessNamespace
    stabilizationWindowSeconds startingDeadlineSeconds storageClassName successfulJobsHistoryLimit suspend
    terminating terminationGracePeriodSeconds tolerationSeconds ttlSecondsAfterFinished
"""
"""Fields that are pointers upstream: what is sent of them was meant, even if it is zero."""


class Field(NamedTuple):
    number: int
    name: str
    kind: str
    repeated: bool


def fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """The fields of one encoded message."""
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        if tag & 7 == 0:
            value, at = varint(data, at)
            yield tag >> 3, value
        else:
            size, at = varint(data, at)
            yield tag >> 3, data[at : at + size]
            at += size


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def descriptors(binary: bytes) -> Iterator[bytes]:
    """The FileDescriptorProtos in a Go binary."""
    for found in GZIP.finditer(binary):
        try:
            text = zlib.decompressobj(31).decompress(binary[found.start() : found.start() + (1 << 20)])
        except zlib.error:
            continue
        if text[:1] == b"\n" and b"/generated.proto" in text[:120]:
            yield text


def messages(descriptor: bytes) -> Iterator[tuple[str, list[Field], dict[str, Field]]]:
    """Name, fields and map entries (name of the entry type → its value field) of each message."""
    parts = list(fields(descriptor))
    package = next(bytes(value).decode() for number, value in parts if number == 2 and isinstance(value, bytes))
    for number, value in parts:
        if number == 4 and isinstance(value, bytes):
            inner = list(fields(value))
            name = next(bytes(text).decode() for key, text in inner if key == 1 and isinstance(text, bytes))
            nested = [text for key, text in inner if key == 3 and isinstance(text, bytes)]
            entries = dict(map_entry(f"{package}.{name}", text) for text in nested)
            yield f"{package}.{name}", [field(text) for key, text in inner if key == 2], entries


def map_entry(outer: str, data: bytes) -> tuple[str, Field]:
    inner = list(fields(data))
    name = next(bytes(text).decode() for key, text in inner if key == 1 and isinstance(text, bytes))
    return f"{outer}.{name}", next(one for key, text in inner if key == 2 and (one := field(text)).number == 2)


def field(data: bytes | int) -> Field:
    assert isinstance(data, bytes)
    found = dict(fields(data))
    name, kind = found[1], int(found[5])
    assert isinstance(name, bytes)
    message = found.get(6, b"")
    assert isinstance(message, bytes)
    return Field(int(found[3]), name.decode(), SCALARS.get(kind) or message.decode()[1:], found[4] == 3)


def shown(name: str) -> str:
    return name.removeprefix("k8s.io.api.").removeprefix("k8s.io.apimachinery.pkg.apis.")


def line(message: str, one: Field, entries: dict[str, Field], schemas: Schemas) -> str:
    kind = shown(one.kind)
    if one.kind in entries:
        kind = "{}" + shown(entries[one.kind].kind)
    elif one.repeated:
        kind = "[]" + kind
    elif is_inline(message, one, schemas):
        kind = "<" + kind
    elif one.name in POINTERS.split() or (message.endswith(".ClientIPConfig") and one.name == "timeoutSeconds"):
        kind = "*" + kind
    return f"{one.number} {one.name} {kind}"


def is_inline(message: str, one: Field, schemas: Schemas) -> bool:
    if "." not in one.kind:
        return False
    try:
        node = schemas.named("io.k8s." + message.removeprefix("k8s.io."))
    except SchemaError:
        return False
    return bool(node.properties) and one.name not in node.properties


def main() -> None:
    schemas = Schemas.load("1.33")
    for descriptor in descriptors(Path(sys.argv[1]).read_bytes()):
        for name, found, entries in messages(descriptor):
            if PACKAGES.fullmatch(name) and found:
                print(shown(name))
                for one in found:
                    print(line(name, one, entries, schemas))
                print()


if __name__ == "__main__":
    main()
