"""Paths that name no resource: health, version, discovery, OpenAPI, metrics, the token issuer's keys."""

import msgspec

from sampan.apiserver.authn.tokens import ServiceAccountTokens
from sampan.apiserver.context import Context
from sampan.apiserver.discovery import Discovery
from sampan.apiserver.handlers.call import json_response
from sampan.apiserver.metrics import Metrics
from sampan.apiserver.negotiation import negotiate
from sampan.apiserver.openapi import OpenAPI
from sampan.apiserver.strategy import RequestInfo
from sampan.http.messages import Response
from sampan.http.metrics import CONTENT_TYPE
from sampan.http.server import Request
from sampan.machinery.errors import MethodNotAllowed, NotFound
from sampan.machinery.objects import Object

_TEXT = "text/plain; charset=utf-8"
_HEALTH = ("/livez", "/readyz", "/healthz")
_INDEX = (
    "/.well-known/openid-configuration", "/api", "/apis", "/healthz", "/livez", "/metrics", "/openapi/v2",
    "/openapi/v3", "/openid/v1/jwks", "/readyz", "/version",
)  # fmt: skip
_AGGREGATED = ("APIGroupDiscoveryList",)


def _checks(root: str) -> bytes:
    """What `?verbose` tells. The server answers only once its store is open and its caches are filled."""
    return f"[+]ping ok\n[+]store ok\n[+]informer-sync ok\n{root.removeprefix('/')} check passed\n".encode()


class NonResource:
    """`open` answers anybody, `answer` authenticated users."""

    def __init__(self, context: Context, metrics: Metrics, tokens: ServiceAccountTokens | None, version: str) -> None:
        self._discovery = Discovery(context.catalog)
        self._openapi = OpenAPI(context.schemas, [served.info for served in context.catalog])
        self._metrics = metrics
        self._tokens = tokens
        self._version = version_info(version)

    def open(self, request: Request) -> Response | None:
        """Health and version; None for every other path."""
        path = request.path
        if path == "/version":
            return json_response(self._version)
        for root in _HEALTH:
            if path == root:
                return Response(200, _checks(root) if request.query.has("verbose") else b"ok", _TEXT)
            if path.startswith(root + "/"):
                return Response(200, b"ok", _TEXT)
        return None

    async def answer(self, request: Request, info: RequestInfo) -> Response:
        """Raises NotFound, MethodNotAllowed."""
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed("the server does not allow this method on the requested resource")
        path = info.path.rstrip("/") or "/"
        match path:
            case "/":
                groups = self._discovery.paths()
                return json_response({"paths": sorted((*_INDEX, *groups))})
            case "/metrics":
                return Response(200, self._metrics.registry.render(), CONTENT_TYPE)
            case "/.well-known/openid-configuration" if self._tokens:
                return json_response(_issuer(self._tokens))
            case "/openid/v1/jwks" if self._tokens:
                return Response(200, msgspec.json.encode(self._tokens.jwks()), "application/jwk-set+json")
        if path.startswith("/openapi/"):
            return await self._openapi.answer(path, request)
        return self._discover(request, path)

    def _discover(self, request: Request, path: str) -> Response:
        kinds = _AGGREGATED if path in ("/api", "/apis") else ()
        form = negotiate(request.headers.get("accept", ""), kinds)
        document = self._discovery.document(path, form)
        if document is None:
            raise NotFound("the server could not find the requested resource")
        content_type = "application/json"
        if form.kind:
            content_type += f";g=apidiscovery.k8s.io;v={form.version};as={form.kind}"
        etag = self._discovery.etag(document)
        headers = {"ETag": etag, "Vary": "Accept", "Cache-Control": "public"}
        if request.headers.get("if-none-match") == etag:
            return Response(304, b"", "", headers)
        return Response(200, document, content_type, headers)


def version_info(version: str) -> Object:
    """What `kubectl version` shows; `version` is the release presented, for instance `1.36`."""
    major, minor = version.split(".")[:2]
    return {
        "major": major,
        "minor": minor,
        "gitVersion": f"v{major}.{minor}.0+sampan",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "python",
        "platform": "linux/amd64",
    }


def _issuer(tokens: ServiceAccountTokens) -> Object:
    return {
        "issuer": tokens.issuer,
        "jwks_uri": f"{tokens.issuer}/openid/v1/jwks",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    }
