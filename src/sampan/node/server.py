"""The agent's HTTPS API on port 10250, which only holders of a client certificate of the cluster can use.

The API server comes here for logs, exec, attach and port-forward; paths and parameters are those of upstream's agent.
`ROUTES` is the whole of it. What cannot be served is answered with a Status, which the API server passes on as it is.
"""

import re
import ssl as tls
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from sampan.http import server as http
from sampan.http import websocket
from sampan.http.messages import Response
from sampan.http.server import Request
from sampan.http.spdy import Transport
from sampan.http.websocket import WebSocketTransport
from sampan.machinery.errors import BadRequest, InternalError, NotFound, StatusError
from sampan.machinery.objects import Object
from sampan.node import log_requests, stats
from sampan.node.node import Node
from sampan.node.pods import PodManager
from sampan.node.records import Record
from sampan.node.runtime.types import ContainerError
from sampan.node.streaming import port_forward, remote_command, spdy_session, websocket_session
from sampan.node.streaming.port_forward import PortForward
from sampan.node.streaming.session import Session, StreamOptions, failure
from sampan.node.streaming.spdy_session import SPDYSession
from sampan.node.streaming.websocket_session import WebSocketSession
from sampan.node.worker import PodWorker

_TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Target:
    """The container that a request is about."""

    worker: PodWorker
    name: str
    record: Record


class AgentServer:
    """Serves the agent's API if the options name certificates."""

    def __init__(self, node: Node, pods: PodManager) -> None:
        self._node = node
        self._pods = pods
        self._server: http.Server | None = None

    async def start(self) -> None:
        """Listen on the node's address. Raises OSError when the port is taken."""
        context = self._tls()
        if context:
            options = self._node.options
            self._server = await http.serve(self.handle, host=options.node_ip, port=options.port, ssl=context)

    async def close(self) -> None:
        if self._server:
            await self._server.close()

    def _tls(self) -> tls.SSLContext | None:
        options = self._node.options
        if not (options.serving_cert and options.serving_key and options.client_ca):
            return None
        context = tls.SSLContext(tls.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.serving_cert, options.serving_key)
        context.load_verify_locations(options.client_ca)
        context.verify_mode = tls.CERT_REQUIRED
        return context

    async def handle(self, request: Request) -> Response | None:
        """Find the route and answer, if the client may ask at all."""
        if self._node.options.client_ca and MASTERS not in request.peer_subject:
            return Response(403, b"Forbidden\n", _TEXT)
        for pattern, serve in ROUTES:
            match = pattern.fullmatch(request.path)
            if match:
                try:
                    return await serve(self, request, match)
                except StatusError as error:
                    return Response(error.status_code, msgspec.json.encode(error.to_status()))
        return Response(404, b"404 page not found\n", _TEXT)

    # --- what there is

    async def healthz(self, _request: Request, _match: re.Match[str]) -> Response:
        return Response(200, b"ok", _TEXT)

    async def pods(self, _request: Request, _match: re.Match[str]) -> Response:
        items = [worker.pod for worker in self._pods.workers.values()]
        return Response(
            body=msgspec.json.encode({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})
        )

    async def summary(self, _request: Request, _match: re.Match[str]) -> Response:
        return Response(body=msgspec.json.encode(stats.summary(self._node, self._pods.workers.values())))

    async def metrics(self, _request: Request, _match: re.Match[str]) -> Response:
        text = stats.agent_metrics(self._pods.workers.values())
        return Response(200, text.encode(), "text/plain; version=0.0.4; charset=utf-8")

    async def resource_metrics(self, _request: Request, _match: re.Match[str]) -> Response:
        text = stats.resource_metrics(self._node, self._pods.workers.values())
        return Response(200, text.encode(), "text/plain; version=0.0.4; charset=utf-8")

    # --- containers

    async def logs(self, request: Request, match: re.Match[str]) -> Response | None:
        target = self._target(match)
        try:
            return await log_requests.serve(request, self._node, target.worker, target.name, target.record)
        except log_requests.NoLog as error:
            raise BadRequest(str(error)) from error

    async def run(self, request: Request, match: re.Match[str]) -> Response:
        target = self._running(match)
        words = request.query.getall("cmd") or request.query.get("cmd").split()
        try:
            result = await self._node.runtime.exec(target.record.container_id, words, limit=1 << 20)
        except ContainerError as error:
            raise InternalError(str(error)) from error
        return Response(200, result.stdout + result.stderr, _TEXT)

    async def exec(self, request: Request, match: re.Match[str]) -> Response | None:
        target, options = self._running(match), StreamOptions.of(request.query)
        command = request.query.getall("command")
        if not command or not options.any:
            raise BadRequest("you must specify at least 1 of stdin, stdout, stderr, and a command")

        async def work(session: Session) -> Object:
            opened = await self._node.runtime.open_exec(
                target.record.container_id,
                command,
                stdin=options.stdin,
                stdout=options.stdout,
                stderr=options.stderr,
                tty=options.tty,
            )
            return await remote_command.connect_exec(session, opened)

        return await self._stream(request, options, work)

    async def attach(self, request: Request, match: re.Match[str]) -> Response | None:
        target, options = self._running(match), StreamOptions.of(request.query)

        async def work(session: Session) -> Object:
            attached = await self._node.runtime.attach(target.record.container_id)
            return await remote_command.connect_attach(session, attached, stdin=options.stdin)

        return await self._stream(request, options, work)

    async def _stream(
        self, request: Request, options: StreamOptions, work: Callable[[Session], Awaitable[Object]]
    ) -> Response | None:
        """Open the client's session, do the work in it, and finish with its Status."""
        session = await _open_session(request, options)
        if not isinstance(session, SPDYSession | WebSocketSession):
            return session
        try:
            status = await work(session)
        except (ContainerError, OSError) as error:
            status = failure(str(error))
        await session.finish(status)
        return None

    async def port_forward(self, request: Request, match: re.Match[str]) -> Response | None:
        worker = self._worker(match)
        transport = await _port_forward_transport(request)
        if isinstance(transport, Response):
            return transport
        await PortForward(transport, worker.network, worker.pod.metadata.key).run()
        return None

    # --- finding

    def _worker(self, match: re.Match[str]) -> PodWorker:
        worker = self._pods.find(match["namespace"], match["pod"])
        if worker is None:
            raise NotFound.of("", "pods", match["pod"])
        return worker

    def _target(self, match: re.Match[str]) -> Target:
        worker, name = self._worker(match), match["container"]
        record = worker.records.get(name)
        if record is None:
            reason = worker.waiting_reason(name)
            if reason is None:
                raise BadRequest(f"container {name} is not valid for pod {match['pod']}")
            message = f'container "{name}" in pod "{match["pod"]}" is waiting to start: {reason}'
            raise BadRequest(message)
        return Target(worker, name, record)

    def _running(self, match: re.Match[str]) -> Target:
        target = self._target(match)
        if not target.record.running:
            raise InternalError(f'container not found ("{target.name}")')
        return target


async def _open_session(request: Request, options: StreamOptions) -> SPDYSession | WebSocketSession | Response | None:
    """The client's session; a Response if it asks for what we do not speak, None if it gave up."""
    if websocket.is_websocket(request.headers):
        chosen = websocket.choose_protocol(request.headers, websocket_session.PROTOCOLS)
        if chosen is None:
            return spdy_session.unsupported(websocket_session.PROTOCOLS)
        return WebSocketSession(await websocket.accept(request, chosen), chosen or websocket_session.PROTOCOLS[-1])
    chosen = spdy_session.choose_protocol(request, spdy_session.PROTOCOLS)
    if not request.headers.get("upgrade", "").lower().startswith("spdy/") or chosen is None:
        return spdy_session.unsupported(spdy_session.PROTOCOLS)
    session = SPDYSession(await spdy_session.accept_connection(request, chosen), chosen, options)
    return session if await session.wait_open() else None


async def _port_forward_transport(request: Request) -> Transport | Response:
    if websocket.is_websocket(request.headers):
        chosen = websocket.choose_protocol(request.headers, port_forward.TUNNEL_PROTOCOLS)
        if not chosen:
            return spdy_session.unsupported(port_forward.TUNNEL_PROTOCOLS)
        return WebSocketTransport(await websocket.accept(request, chosen))
    protocol = spdy_session.choose_protocol(request, port_forward.PROTOCOLS)
    if not request.headers.get("upgrade", "").lower().startswith("spdy/") or protocol is None:
        return spdy_session.unsupported(port_forward.PROTOCOLS)
    return await spdy_session.accept_connection(request, protocol)


MASTERS = ("organizationName", "system:masters")
"""In the certificate of the API server, and of nobody else who speaks to agents."""

Serve = Callable[[AgentServer, Request, "re.Match[str]"], Awaitable[Response | None]]

_POD = r"/(?P<namespace>[^/]+)/(?P<pod>[^/]+)"
_CONTAINER = _POD + r"/(?P<container>[^/]+)"

ROUTES: tuple[tuple[re.Pattern[str], Serve], ...] = (
    (re.compile(r"/healthz"), AgentServer.healthz),
    (re.compile(r"/pods/?"), AgentServer.pods),
    (re.compile(r"/stats/summary"), AgentServer.summary),
    (re.compile(r"/metrics"), AgentServer.metrics),
    (re.compile(r"/metrics/resource"), AgentServer.resource_metrics),
    (re.compile(rf"/containerLogs{_CONTAINER}"), AgentServer.logs),
    (re.compile(rf"/run{_CONTAINER}"), AgentServer.run),
    (re.compile(rf"/exec{_CONTAINER}"), AgentServer.exec),
    (re.compile(rf"/attach{_CONTAINER}"), AgentServer.attach),
    (re.compile(rf"/portForward{_POD}"), AgentServer.port_forward),
)
