"""One request, from arrival to answer: authenticate, route, authorise, hand to a handler, turn errors into Status.

Paths that are not resources (health, version, discovery, OpenAPI, metrics) are in `nonresource.py`. Only health and
version are served to strangers.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping

from sampan.apiserver.authn.authenticator import Authenticator
from sampan.apiserver.authn.impersonation import impersonated
from sampan.apiserver.authz import Authorizer
from sampan.apiserver.context import Context
from sampan.apiserver.handlers import componentstatuses
from sampan.apiserver.handlers.call import Call, error_response
from sampan.apiserver.handlers.create import create
from sampan.apiserver.handlers.delete import delete
from sampan.apiserver.handlers.deletecollection import deletecollection
from sampan.apiserver.handlers.get import get
from sampan.apiserver.handlers.list import list_
from sampan.apiserver.handlers.patch import patch
from sampan.apiserver.handlers.update import update
from sampan.apiserver.handlers.watch import watch
from sampan.apiserver.metrics import Metrics
from sampan.apiserver.nonresource import NonResource
from sampan.apiserver.routing import parse_request
from sampan.apiserver.strategy import RequestInfo
from sampan.apiserver.subresources.table import Subresources
from sampan.http.messages import Response
from sampan.http.server import Request
from sampan.machinery.errors import (
    BadRequest,
    Forbidden,
    InternalError,
    MethodNotAllowed,
    NotFound,
    ServiceUnavailable,
    StatusError,
)  # fmt: skip
from sampan.store.interface import StoreError

log = logging.getLogger(__name__)

Handler = Callable[[Call], Awaitable[Response | None]]
HANDLERS: Mapping[str, Handler] = {
    "get": get,
    "list": list_,
    "watch": watch,
    "create": create,
    "update": update,
    "patch": patch,
    "delete": delete,
    "deletecollection": deletecollection,
}
COMPUTED: Mapping[str, Mapping[str, Handler]] = {"ComponentStatus": componentstatuses.HANDLERS}
"""Kinds of which nothing is stored."""
_NAMED_VERBS = frozenset({"get", "update", "patch", "delete"})


class App:
    """The handler that the HTTP server calls."""

    def __init__(
        self, context: Context, authenticator: Authenticator, authorizer: Authorizer, nonresource: NonResource,
        subresources: Subresources, metrics: Metrics,
    ) -> None:  # fmt: skip
        self._context = context
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._nonresource = nonresource
        self._subresources = subresources
        self._metrics = metrics

    async def __call__(self, request: Request) -> Response | None:
        started = time.perf_counter()
        info = RequestInfo(verb=request.method.lower())
        try:
            open_answer = self._nonresource.open(request)
            if open_answer is not None:
                return open_answer
            user = impersonated(self._authenticator.authenticate(request), request.headers)
            info = parse_request(request.method, request.raw_path, request.query, user)
            if not self._authorizer.allows(info):
                raise Forbidden(f'User "{user.name}" cannot {info.verb} path "{info.path}"')
            response = await self._answer(request, info)
        except Exception as error:
            response = _answer_to(error, request)
        code = response.status if response is not None else 200
        self._metrics.observe(self._known(info), code, time.perf_counter() - started)
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s %s %d %s", request.method, request.raw_path, code, info.user.name)
        return response

    async def _answer(self, request: Request, info: RequestInfo) -> Response | None:
        if not info.is_resource:
            return await self._nonresource.answer(request, info)
        if request.method == "HEAD" and info.subresource != "proxy":
            raise MethodNotAllowed("the server does not allow this method on the requested resource")
        served = self._context.catalog.find(info.group, info.version, info.resource)
        if served is None:
            raise NotFound("the server could not find the requested resource")
        if info.namespace and not served.info.namespaced and info.resource != "namespaces":
            raise NotFound("the server could not find the requested resource")
        call = Call(self._context, served, info, request)
        if served.info.namespaced and not info.namespace and info.verb not in ("list", "watch"):
            raise MethodNotAllowed("the server does not allow this method on the requested resource")
        handler = self._handler(call)
        if handler is None:
            raise MethodNotAllowed("the server does not allow this method on the requested resource")
        return await handler(call)

    def _known(self, info: RequestInfo) -> RequestInfo:
        """What metrics name: resources that are served, so that clients cannot make labels of their own."""
        if not info.is_resource or self._context.catalog.find(info.group, info.version, info.resource):
            return info
        return RequestInfo(info.verb)

    def _handler(self, call: Call) -> Handler | None:
        verb, verbs = call.info.verb, call.served.info.verbs
        if call.info.subresource:
            return self._subresources.handler(call)
        if verbs == ("create",):
            return self._subresources.create_only(call)
        fits = bool(call.info.name) is (verb in _NAMED_VERBS) or verb == "watch"
        handlers = COMPUTED.get(call.served.info.kind, HANDLERS)
        return handlers.get(verb) if fits and verb in verbs else None


def _answer_to(error: Exception, request: Request) -> Response:
    """The Status for an error; an unexpected one is logged here, with what was asked for."""
    if isinstance(error, ConnectionResetError):
        raise error
    if isinstance(error, RecursionError):
        error = BadRequest("the request is nested too deeply")
    elif isinstance(error, StoreError):
        log.error("%s %s: %s", request.method, request.raw_path, error)
        error = ServiceUnavailable(f"the store failed: {error}")
    elif not isinstance(error, StatusError):
        log.exception("%s %s", request.method, request.raw_path)
        error = InternalError("Internal error occurred: see the API server's log")
    return error_response(error)
