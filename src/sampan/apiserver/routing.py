"""From a request line to a `RequestInfo`: which resource, object and subresource is meant, and which verb.

The shapes are those of upstream's RequestInfoFactory: `/api/v1/…` for the core group, `/apis/GROUP/VERSION/…` for the
others, `namespaces/NS/` in front of namespaced resources, and whatever follows `…/proxy` left to the proxied server.
`app.py` hands the result to authorisation and then to a handler.
"""

import re
from urllib.parse import unquote

from sampan.apiserver.strategy import RequestInfo, User
from sampan.http.messages import Query
from sampan.machinery.errors import BadRequest

_BAD_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})").search
_NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "GET": "get", "HEAD": "get"}


def parse_request(method: str, target: str, query: Query, user: User) -> RequestInfo:
    """Raises BadRequest when the path cannot be decoded."""
    raw = target.partition("?")[0]
    segments = raw.split("/")
    if "%" in raw:
        segments = [_decode(segment) for segment in segments]
    info = RequestInfo(verb=method.lower(), path="/".join(segments), user=user)
    rest = _enter_group(info, segments)
    if rest:
        _read_resource(info, rest, raw)
        _read_verb(info, method, query)
    return info


def _decode(segment: str) -> str:
    if _BAD_ESCAPE(segment):
        raise BadRequest(f'invalid URL escape in "{segment[:80]}"')
    try:
        return unquote(segment, errors="strict")
    except UnicodeDecodeError:
        raise BadRequest("the request's path is not valid UTF-8") from None


def _enter_group(info: RequestInfo, segments: list[str]) -> list[str]:
    """Read the group and version; gives the segments that name a resource, if there are any."""
    while len(segments) > 1 and not segments[-1]:
        segments = segments[:-1]
    match segments:
        case ["", "api", version, _, *_]:
            info.version = version
            return segments[3:]
        case ["", "apis", group, version, _, *_]:
            info.group, info.version = group, version
            return segments[4:]
    return []


def _read_resource(info: RequestInfo, rest: list[str], raw: str) -> None:
    if rest[0] == "watch" and len(rest) > 1:
        info.verb, rest = "watch", rest[1:]
    if rest[0] == "namespaces" and len(rest) > 1:
        info.namespace = rest[1]
        if len(rest) > 2 and not (len(rest) == 3 and rest[2] in _NAMESPACE_SUBRESOURCES):
            rest = rest[2:]
    info.resource = rest[0]
    info.name = rest[1] if len(rest) > 1 else ""
    info.subresource = rest[2] if len(rest) > 2 else ""
    if info.subresource == "proxy":
        info.proxy_path = _after_proxy(raw)
    elif len(rest) > 3:
        info.subresource = "/".join(rest[2:])


def _after_proxy(raw: str) -> str:
    """What follows `/proxy` in the path as it was sent, with its slash; the proxied server decodes it."""
    named = re.match(r"(?:/[^/]+)+?/(?:pods|services|nodes)/[^/]+/proxy(?=/|$)", raw)
    return raw[named.end() :] if named else ""


def _read_verb(info: RequestInfo, method: str, query: Query) -> None:
    if info.verb == "watch":
        return
    info.verb = _VERBS.get(method, method.lower())
    if info.name:
        if info.verb == "get" and not info.subresource and query.text and query.flag("watch"):
            info.verb = "watch"
    elif info.verb == "get":
        info.verb = "watch" if query.text and query.flag("watch") else "list"
    elif info.verb == "delete":
        info.verb = "deletecollection"
