"""What every handler gets (`Call`) and the ways in which it answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from sampan.apiserver import bodies, options
from sampan.apiserver.context import Context
from sampan.apiserver.negotiation import Form, negotiate
from sampan.apiserver.rendering import Renderer, in_media_type
from sampan.apiserver.served import Served
from sampan.apiserver.strategy import RequestInfo
from sampan.http.messages import Query, Response
from sampan.http.server import Request
from sampan.machinery.errors import StatusError
from sampan.machinery.objects import Object

_encode = msgspec.json.encode


@dataclass(frozen=True, slots=True)
class Call:
    """One request for a resource, with everything that answers it."""

    context: Context
    served: Served
    info: RequestInfo
    request: Request

    @property
    def query(self) -> Query:
        return self.request.query

    @property
    def home(self) -> Served:
        """The stored version of the resource, which all pipelines work on."""
        return self.served.home

    def form(self) -> Form:
        """Raises NotAcceptable."""
        return negotiate(self.request.headers.get("accept", ""))

    def renderer(self, form: Form) -> Renderer:
        include = self.query.get("includeObject") if form.is_table and self.query.text else ""
        return self.context.renderers.of(self.served, form, include)

    def object(self, value: bytes, status: int = 200) -> Response:
        """The answer that shows one stored object in the form that was asked for."""
        form = self.form()
        body = in_media_type(self.renderer(form)(value), form)
        return Response(status, body, form.media_type, self.warnings())

    def warnings(self) -> Mapping[str, str]:
        texts = self.info.warnings
        if self.served.warning:
            texts = [self.served.warning, *texts]
        return warning_headers(texts)


Converter = Callable[[Object], Object]


def read_write_options(call: Call) -> None:
    """Take dryRun, fieldManager and fieldValidation from the query. Raises Invalid.

    Raises NotAcceptable too, because that must be known before anything is written.
    """
    info, query = call.info, call.query
    call.form()
    if query.text:
        applies = bodies.media_type(call.request) == bodies.APPLY_PATCH
        options.check_write(call.request.method, query, applies=applies)
        info.dry_run = any(query.getall("dryRun"))
        info.field_manager = query.get("fieldManager")
        info.field_validation = query.get("fieldValidation") or "Warn"
    if not info.field_manager:
        agent = call.request.headers.get("user-agent", "")
        info.field_manager = agent.partition("/")[0][:128] or "unknown"


def warning_headers(texts: list[str]) -> Mapping[str, str]:
    """Warnings as RFC 7234 section 5.5 puts them, which kubectl prints."""
    if not texts:
        return {}
    return {"Warning": ", ".join(f"299 - {_quoted(text)}" for text in dict.fromkeys(texts))}


def _quoted(text: str) -> str:
    clean = "".join(char if char.isprintable() and char.isascii() else "?" for char in text[:1024])
    return '"' + clean.replace("\\", "\\\\").replace('"', '\\"') + '"'


def json_response(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(status, _encode(body), headers=headers or {})


def error_response(error: StatusError, headers: Mapping[str, str] | None = None) -> Response:
    """A Status, with Retry-After where the client should come again."""
    headers = dict(headers or {})
    seconds = (error.details or {}).get("retryAfterSeconds")
    if seconds:
        headers["Retry-After"] = str(seconds)
    return Response(error.status_code, _encode(error.to_status()), headers=headers)


def success(call: Call, name: str, uid: str) -> Response:
    """The Status that says that something is gone."""
    info = call.served.info
    details: Object = {"name": name, "kind": info.plural}
    if info.group:
        details["group"] = info.group
    if uid:
        details["uid"] = uid
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
    return json_response(status, headers=call.warnings())
