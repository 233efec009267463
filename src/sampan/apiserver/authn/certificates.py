"""The user in a client certificate: the subject's common name, and an organisation for each group.

TLS has verified the certificate by the time it gets here, so that only the subject is read, with a DER reader of a few
lines (ITU-T X.690): a full X.509 library takes longer to import than the server takes to start.
"""

from collections.abc import Iterator
from functools import lru_cache

from sampan.apiserver.strategy import User

_COMMON_NAME = bytes.fromhex("550403")
_ORGANIZATION = bytes.fromhex("55040a")
_EXPLICIT_VERSION = 0xA0
_BMP_STRING = 0x1E


class MalformedCertificate(ValueError):
    """A certificate whose subject cannot be read."""


@lru_cache(maxsize=1024)
def user_of_certificate(der: bytes) -> User | None:
    """None for a certificate without a common name. Raises MalformedCertificate."""
    names: dict[bytes, list[str]] = {}
    for kind, value in _subject_attributes(der):
        names.setdefault(kind, []).append(value)
    common_names = names.get(_COMMON_NAME)
    if not common_names:
        return None
    return User(common_names[-1], (*names.get(_ORGANIZATION, ()), "system:authenticated"))


def _subject_attributes(der: bytes) -> Iterator[tuple[bytes, str]]:
    fields = list(_elements(_first(_first(der))))
    if fields and fields[0][0] == _EXPLICIT_VERSION:
        fields = fields[1:]
    if len(fields) < 5:
        raise MalformedCertificate("a certificate has at least serial, signature, issuer, validity and subject")
    for _, relative_name in _elements(fields[4][1]):
        for _, attribute in _elements(relative_name):
            match list(_elements(attribute)):
                case [(_, kind), (tag, value)]:
                    yield kind, _text(tag, value)
                case _:
                    raise MalformedCertificate("an attribute is a type and a value")


def _text(tag: int, value: bytes) -> str:
    return value.decode("utf-16-be" if tag == _BMP_STRING else "utf-8", "replace")


def _first(data: bytes) -> bytes:
    """The content of the first element in `data`."""
    for _, content in _elements(data):
        return content
    raise MalformedCertificate("nothing where an element should be")


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The tag and content of each DER element in `data`."""
    position = 0
    while position < len(data):
        if position + 2 > len(data):
            raise MalformedCertificate("truncated element")
        tag, length = data[position], data[position + 1]
        position += 2
        if length & 0x80:
            count = length & 0x7F
            length = int.from_bytes(data[position : position + count], "big")
            position += count
        if position + length > len(data):
            raise MalformedCertificate("an element is longer than what holds it")
        yield tag, data[position : position + length]
        position += length
