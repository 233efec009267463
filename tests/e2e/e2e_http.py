"""Requests to the API exactly as given, with the administrator's certificate: for what kubectl does not show."""

import http.client
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from e2e_support import Kubectl

from sampan.client.config import Config

JSON = "application/json"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class API:
    """The API server of a cluster; `namespace` is the test's own."""

    def __init__(self, kubectl: Kubectl) -> None:
        config = Config.from_kubeconfig(kubectl.kubeconfig, kubectl.context)
        self._address = urlsplit(config.server)
        self._tls = config.ssl_context()
        self.namespace = kubectl.namespace

    def path(self, resource: str) -> str:
        """`services/web` of the core group, or `discovery.k8s.io/v1/endpointslices`, in the test's namespace."""
        group, found, rest = resource.partition("/v1/")
        if not found:
            return f"/api/v1/namespaces/{self.namespace}/{resource}"
        return f"/apis/{group}/v1/namespaces/{self.namespace}/{rest}"

    def call(self, method: str, path: str, body: Any = None, content_type: str = JSON, **headers: str) -> Answer:
        """`body` goes as it is if it is bytes, else as JSON. A path without a leading slash is the namespace's."""
        with closing(self._connect(30)) as connection:
            self._send(connection, method, path, body, {"Content-Type": content_type, **headers})
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())

    def get(self, path: str, **headers: str) -> Any:
        """The decoded body of a successful GET."""
        answer = self.call("GET", path, **headers)
        assert answer.status == 200, answer.body
        return answer.json

    def create(self, resource: str, obj: Any) -> Any:
        answer = self.call("POST", resource, obj)
        assert answer.status == 201, answer.body
        return answer.json

    def patch(self, path: str, patch: Any, kind: str = "merge") -> Any:
        """`kind` is json, merge or strategic-merge."""
        answer = self.call("PATCH", path, patch, f"application/{kind}-patch+json")
        assert answer.status == 200, answer.body
        return answer.json

    @contextmanager
    def watch(self, path: str, seconds: float = 15) -> Iterator[Iterator[Any]]:
        """The events of a watch; TimeoutError when none comes for `seconds`."""
        with closing(self._connect(seconds)) as connection:
            self._send(connection, "GET", path, None, {})
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            yield (json.loads(line) for line in answer)

    def _connect(self, seconds: float) -> http.client.HTTPSConnection:
        assert self._address.hostname is not None
        return http.client.HTTPSConnection(
            self._address.hostname, self._address.port, timeout=seconds, context=self._tls
        )

    def _send(
        self, connection: http.client.HTTPSConnection, method: str, path: str, body: Any, headers: dict[str, str]
    ) -> None:
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        target = path if path.startswith("/") else self.path(path)
        connection.request(method, target, body, {key.replace("_", "-"): value for key, value in headers.items()})


def seen(events: Iterator[Any], count: int) -> list[tuple[str, str]]:
    """Type and object's name of the next events."""
    found = [next(events) for _ in range(count)]
    return [(event["type"], event["object"]["metadata"].get("name", "")) for event in found]
