"""Header blocks of SPDY/3.1: name-value pairs, deflated with a fixed dictionary in one stream per direction."""

import struct
import zlib
from collections.abc import Mapping

MAX_BLOCK = 64 * 1024

_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow "
    "authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status"
)
_NAMES = [*_WORDS.split(), "200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin"]

_PHRASES = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritative "
    "Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 "
    "Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec "
    "00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,"
    "application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8"
    "charset=iso-8859-1,utf-,*,enq=0."
)

DICTIONARY = b"".join(struct.pack(">I", len(name)) + name.encode() for name in _NAMES) + _PHRASES.encode()
"""Section 2.6.10.1 of the SPDY/3 draft; its Adler-32 is 0xe3c6a7c2."""


class BadHeaders(ValueError):
    """A header block that cannot be read; the compression state is lost with it."""


class HeaderEncoder:
    """Writes the header blocks of one direction of a connection, in order."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def encode(self, headers: Mapping[str, str]) -> bytes:
        parts = [struct.pack(">I", len(headers))]
        for name, value in headers.items():
            for text in (name.lower().encode(), value.encode()):
                parts += (struct.pack(">I", len(text)), text)
        return self._deflate.compress(b"".join(parts)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)


class HeaderDecoder:
    """Reads the header blocks of one direction of a connection, in order."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)

    def decode(self, block: bytes) -> dict[str, str]:
        """Names in lower case; several values of one name are joined with commas. Raises BadHeaders."""
        try:
            return _parse(self._inflate.decompress(block, MAX_BLOCK))
        except (zlib.error, struct.error, UnicodeDecodeError) as error:
            raise BadHeaders(str(error)) from error


def _parse(data: bytes) -> dict[str, str]:
    (count,) = struct.unpack_from(">I", data)
    offset = 4
    texts: list[str] = []
    for _ in range(2 * count):
        (length,) = struct.unpack_from(">I", data, offset)
        offset += 4
        if offset + length > len(data):
            raise BadHeaders("a header block is cut short")
        texts.append(data[offset : offset + length].decode())
        offset += length
    return {name.lower(): value.replace("\0", ", ") for name, value in zip(texts[::2], texts[1::2], strict=True)}
