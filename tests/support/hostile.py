"""The model with text in it that tries to break out of nginx's quoting, in every field that holds text."""

from __future__ import annotations

import functools
import random
import sys
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from typing import Any, Literal, get_args, get_origin, get_type_hints

from sampan.ingress.model import (
    AccessList,
    BackendKey,
    BackendProtocol,
    ClientCertificates,
    Cors,
    ErrorPages,
    ExternalAuth,
    Filters,
    Host,
    HostTLS,
    Mirror,
    PathMatch,
    PathType,
    Proxying,
    RateLimit,
    Redirect,
    Rewrite,
    Route,
    Source,
    UpstreamTLS,
    UserAuth,
    Variable,
)

MARK = "evil_directive"
"""The name of the directive that all of it tries to make."""

_ENDS = (
    "",
    ";",
    '"',
    "'",
    "}",
    "{",
    "\\",
    '";',
    "';",
    "\n",
    "\r\n",
    "\0",
    "$",
    "${",
    '\\"',
    "\\n",
    " ",
    "#",
    ")",
    "\t",
)
_BREAKS = tuple(f"{end}{middle}{MARK} on;{tail}" for end in _ENDS for middle in (" ", "\n", "} ", "};\n")
                for tail in ("", " #", "\n{", '"', "'"))  # fmt: skip
NASTY = (
    *_BREAKS,
    f"$({MARK})", f"${{{MARK}}}", f"${MARK}", "$1$2", "$literal_dollar", "${", "$", "$$", "\\", "\\\\", '\\"', "\"\"",
    "\0", "a\0b", "\x7f\x01", "\ud800", "é" * 100, "x" * 5000, "x" * 1_000_000, "\n" * 3000, "", " ", "~^(", "~*", "*",
    "^~ /", "@x", "off", "on", "default", "include /etc/passwd", "unix:/etc/passwd", "127.0.0.1", "/../../etc/passwd",
    "%00%0a", "http://x/;y", "{%", "#", "lua { os.execute() }", "content_by_lua_block { os.exit() }", "(?{1})", "--[[",
)  # fmt: skip


_PATHS = ((PathType.PREFIX, "/a"), (PathType.EXACT, "/b"), (PathType.REGEX, "/c(.*)"))


def template() -> Host:
    """A host on which every filter and every field of the model is in use, with harmless text."""
    source, key, text = Source("ns", "ingress"), BackendKey("ns", "svc", "80"), ("/a", Variable("host"))
    filters = Filters(
        https_redirect=True,
        rewrite=Rewrite("/x/$1", "/p"),
        cors=Cors(("http://a.example", "https://*.b.example"), ("GET",), ("X-A",), ("X-B",)),
        user_auth=UserAuth("digest", "realm", b"user:realm:hash\n", "ns/secret"),
        external_auth=ExternalAuth(
            ("http://10.96.0.20/",), "GET", ("http://signin.example/",), "rd", ("X-User",), ("/r",), (("X-H", "v"),),
            (Variable("host"), "k"), ("200 5m",), 3, False, 5, 6, True,
        ),
        access=AccessList(("10.0.0.0/8",), ("10.1.0.0/16",)),
        rate_limit=RateLimit(1, 2, 3, 4, ("10.0.0.0/8",), 5, 6),
        mirror=Mirror(("http://m.example", Variable("request_uri")), ("m.example",), False),
        error_pages=ErrorPages((404,), "ns/errors/80"),
        request_headers=(("X-C", "c"),),
        response_headers=(("X-D", "d"),),
    )  # fmt: skip
    proxying = Proxying(
        1, 2, 3, ("error",), 4, 5, 6, 7, True, True, 8, 4096, 8192, 16384, "1.1", ("a", "b"), ("c", "d"), ("e", "f"),
        ("h", Variable("host")), "close", "index.php", (("SCRIPT", "s"),),
    )  # fmt: skip
    tls = UpstreamTLS(b"crt", b"key", b"ca", True, 1, ("n",), True, "HIGH", ("TLSv1.2",), "ns/tls")
    routes = [
        Route(
            PathMatch(kind, path.replace("/", f"/{number}", 1)),
            source,
            "ns/svc/80",
            key,
            protocol,
            (),
            "ns/other/80",
            filters,
            proxying,
            tls,
        )
        for number, (protocol, (kind, path)) in enumerate(zip(BackendProtocol, _PATHS * 2, strict=True))
    ]
    routes.append(Route(PathMatch(PathType.PREFIX, "/r"), source, "ns/svc/80", key,
                        filters=Filters(redirect=Redirect(text, 302))))  # fmt: skip
    clients = ClientCertificates(b"ca", b"crl", "on", 1, ("http://e.example",), True, "CN=x", "ns/ca")
    return Host(
        "a.example", tuple(routes), ("b.example", "~^c"), HostTLS("ns/own", clients, "HIGH", True), None,
        "www.a.example", "/root", "", source,
    )  # fmt: skip


def poisoned(value: Any, rng: random.Random, chance: float) -> Any:
    """The value with some of its texts replaced by nasty ones, at every depth; what is one of a few words stays."""
    if not is_dataclass(value) or isinstance(value, type):
        return value
    hints = _hints(type(value))
    made = {
        one.name: _field(getattr(value, one.name), hints[one.name], rng, chance)
        for one in fields(value)
        if one.name != "snippet"  # raw configuration by its nature
    }
    return replace(value, **made)


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind, vars(sys.modules[kind.__module__]))


def _field(value: Any, hint: Any, rng: random.Random, chance: float) -> Any:
    if Literal in (get_origin(hint), *(get_origin(part) for part in get_args(hint))):
        return value
    if isinstance(value, tuple):
        return tuple(_field(part, str if isinstance(part, str) else type(part), rng, chance) for part in value)
    if isinstance(value, str):
        return rng.choice(NASTY) if rng.random() < chance else value
    if isinstance(value, bytes):
        return rng.choice(NASTY).encode(errors="replace") if rng.random() < chance else value
    if isinstance(value, Enum):
        return value
    return poisoned(value, rng, chance)
