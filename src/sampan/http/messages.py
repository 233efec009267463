"""What a handler sees of a request and gives back: Query, Response, and the size limits all servers share.

Header names are lower-case on receipt. A repeated header reads as one that is joined with `, ` (RFC 9110 section 5.3);
`Headers.getall` has its lines, for those whose values hold commas (`Set-Cookie`, `Impersonate-Group`).
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

MAX_BODY = 3 * 1024 * 1024
MAX_HEADERS = 64 * 1024


class Headers(dict[str, str]):
    """Names to values; lines that were repeated are kept beside."""

    __slots__ = ("_repeated",)

    def __init__(self, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(headers or {})
        self._repeated: dict[str, list[str]] = {}
        if isinstance(headers, Headers):
            self._repeated = {name: list(values) for name, values in headers._repeated.items()}

    def add(self, name: str, value: str) -> None:
        """One more line, as it is received."""
        if name in self:
            self._repeated.setdefault(name, [self[name]]).append(value)
            self[name] = f"{self[name]}, {value}"
        else:
            self[name] = value

    def getall(self, name: str) -> Sequence[str]:
        """Each line of a header by itself."""
        repeated = self._repeated.get(name)
        return repeated if repeated is not None else ([self[name]] if name in self else [])

    def without(self, names: Container[str]) -> "Headers":
        """A copy without the headers of these names."""
        kept = Headers({name: value for name, value in self.items() if name not in names})
        kept._repeated = {name: values for name, values in self._repeated.items() if name not in names}
        return kept


def header_lines(headers: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    """What to send: one line for each header, but for cookies, which cannot be joined."""
    for name, value in headers.items():
        if name == "set-cookie" and isinstance(headers, Headers):
            for line in headers.getall(name):
                yield name, line
        else:
            yield name, value


class Query:
    """The parameters of a URL, decoded when first asked for."""

    __slots__ = ("_text", "_values")

    def __init__(self, text: str) -> None:
        self._text = text
        self._values: dict[str, list[str]] | None = None

    @property
    def text(self) -> str:
        """The query exactly as it was sent, without the question mark."""
        return self._text

    def get(self, name: str, default: str = "") -> str:
        """The first value of `name`."""
        found = self._parsed().get(name)
        return found[0] if found else default

    def getall(self, name: str) -> Sequence[str]:
        return self._parsed().get(name, ())

    def has(self, name: str) -> bool:
        return name in self._parsed()

    def flag(self, name: str) -> bool:
        """Go's reading of a boolean: `true` and `1` are true."""
        return self.get(name).lower() in ("true", "1", "t")

    def _parsed(self) -> dict[str, list[str]]:
        if self._values is None:
            self._values = {}
            if self._text:
                for name, value in parse_qsl(self._text, keep_blank_values=True, errors="replace"):
                    self._values.setdefault(name, []).append(value)
        return self._values


@dataclass(slots=True)
class Response:
    """A whole answer. `body` is sent as it is; `content_type` may be empty."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


class BodyTooLarge(Exception):
    """The request's body is larger than the server takes."""


def split_target(target: str) -> tuple[str, str]:
    """A request target → its decoded path and raw query."""
    path, _, query = target.partition("?")
    return (unquote(path, errors="strict") if "%" in path else path), query


REASONS = {
    100: "Continue", 101: "Switching Protocols", 200: "OK", 201: "Created", 202: "Accepted", 204: "No Content",
    301: "Moved Permanently", 302: "Found", 304: "Not Modified", 307: "Temporary Redirect",
    400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
    406: "Not Acceptable", 408: "Request Timeout", 409: "Conflict", 410: "Gone", 413: "Request Entity Too Large",
    415: "Unsupported Media Type", 422: "Unprocessable Entity", 429: "Too Many Requests",
    431: "Request Header Fields Too Large", 500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway",
    503: "Service Unavailable", 504: "Gateway Timeout",
}  # fmt: skip


def head(status: int, headers: Mapping[str, str]) -> bytes:
    """The status line and headers of an answer, ready to send."""
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}"]
    lines += [f"{name}: {value}" for name, value in header_lines(headers)]
    text = "\r\n".join(lines)
    if text.count("\n") != len(lines) - 1:
        raise ValueError("a header holds a line break")
    return (text + "\r\n\r\n").encode("latin-1", "replace")
