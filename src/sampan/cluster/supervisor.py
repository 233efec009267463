"""The host's side of a cluster: starts the box, knows how its components are, publishes Services, ends it.

One process in the background for each cluster (`launch.py` makes it). It holds everything that lives outside the box
and must go when the box goes: the lock, the control socket, published ports.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import logging
import os
import socket
import time
from collections.abc import Sequence

from sampan.client.config import Config
from sampan.client.rest import Client
from sampan.cluster import box, control, hostnetwork, hostports, outbound
from sampan.cluster.components import Component, Context
from sampan.cluster.control import Answer, ClusterStatus, ComponentStatus, ControlError, Request
from sampan.cluster.helper import Helper
from sampan.cluster.messages import (
    Boxed,
    Exited,
    Failed,
    Message,
    Note,
    Ready,
    SocketMade,
    SocketWanted,
    Started,
)
from sampan.cluster.progress import Down, Reporter, Step, Up
from sampan.cluster.publish import Publisher
from sampan.cluster.relay import descriptor_budget_of_process
from sampan.cluster.warmup import warm_up
from sampan.kernel import processes

HOPELESS = 5
"""A component that ends this often without ever having been ready will not start at all."""

log = logging.getLogger(__name__)


class Supervisor:
    """Runs until the box ends, by itself or because it is told to."""

    def __init__(self, components: Sequence[Component], context: Context, reporter: Reporter) -> None:
        self._components = {component.name: component for component in components}
        self._context = context
        self._reporter = reporter
        self._states = {name: ComponentStatus(name=name) for name in self._components}
        self._notes: dict[str, str] = {}
        self._waiting_sockets: dict[int, asyncio.Future[socket.socket]] = {}
        self._numbers = itertools.count(1)
        self._box_pid, self._channel = box.open_box(components, context)
        self._closing: asyncio.Task[None] | None = None

    async def run(self) -> None:
        self._channel.setblocking(False)
        asyncio.get_running_loop().add_reader(self._channel, self._hear)
        client = Client(_admin(self._context))
        config = self._context.config
        nodes = {node.name: config.node_ip(index) for index, node in enumerate(config.node_list)}
        published = self._context.paths.published
        self._publisher = Publisher(client, self._make_socket, published, descriptor_budget_of_process(), nodes)
        server = await control.serve(self._context.paths.control, self._answer)
        self._publisher.map_ports(hostports.mappings(config), self._context.mapped)
        self._publisher.restore()
        names = asyncio.create_task(self._answer_outside_names())
        try:
            await processes.gone(self._box_pid)
        finally:
            names.cancel()
            self._reporter.tell(Down("the box ended"))
            self._publisher.close()
            await self._close_box()
            server.close()
            await client.close()

    async def _answer_outside_names(self) -> None:
        """The cluster itself does without them, so a failure is only logged."""
        from sampan.cluster import outside

        try:
            await outside.answer(self._make_socket, self._context.config.gateway)
        except OSError as error:
            log.warning("names outside the cluster are not answered: %s", error)

    async def _close_box(self) -> None:
        """Ends the box; whoever asks first, all wait for the same end. Raises OSError."""
        if self._closing is None:
            self._closing = asyncio.create_task(asyncio.to_thread(self._close))
        await asyncio.shield(self._closing)

    def _close(self) -> None:
        box.close(self._box_pid, self._context)
        hostnetwork.remove(self._context.paths)

    def _hear(self) -> None:
        try:
            while True:
                message, descriptor = self._channel.receive()
                self._note(message, descriptor)
        except BlockingIOError:
            return
        except (EOFError, ConnectionError):
            asyncio.get_running_loop().remove_reader(self._channel)

    def _note(self, message: Message, descriptor: int | None) -> None:
        match message:
            case Boxed():
                self._boxed()
            case Started(component, pid):
                self._change(component, state="starting", pid=pid)
            case Ready(component):
                self._ready(component)
            case Note(component, text):
                self._notes[component] = text
                self._reporter.tell(Step(text, component))
            case Exited():
                self._exited(message)
            case Failed(error):
                self._reporter.tell(Down(error))
            case SocketMade():
                self._socket_made(message, descriptor)

    def _boxed(self) -> None:
        self._reporter.tell(Step("namespaces and network made"))
        if self._context.config.host_network:
            try:
                hostnetwork.create(self._context.config, self._context.paths, self._box_pid)
            except OSError as error:
                self._reporter.tell(Down(f"the machine cannot be joined to the cluster's network: {error}"))

    def _change(self, component: str, *, state: str, pid: int, restarts: int = 0) -> None:
        before = self._states[component]
        self._states[component] = ComponentStatus(
            name=component, state=state, pid=pid, restarts=before.restarts + restarts, since=time.time()
        )

    def _ready(self, component: str) -> None:
        state = "done" if self._components[component].once else "ready"
        self._change(component, state=state, pid=self._states[component].pid)
        if announcement := self._components[component].announce:
            self._reporter.tell(Step(announcement, component))
        needed = (state for name, state in self._states.items() if not self._components[name].optional)
        if all(state.state in ("ready", "done") for state in needed):
            self._reporter.tell(Up())

    def _exited(self, message: Exited) -> None:
        if message.retry is None:
            self._change(message.component, state="done", pid=0)
            return
        log.warning("%s ended with status %d", message.component, message.status)
        self._change(message.component, state="restarting", pid=0, restarts=1)
        restarts = self._states[message.component].restarts
        self._reporter.tell(Step(f"{message.component} ended with status {message.status}", message.component))
        if restarts >= HOPELESS and not self._components[message.component].optional:
            self._reporter.tell(Down(f"{message.component} does not start", message.component))

    async def _make_socket(self, *, node: str | None = None, datagram: bool = False) -> socket.socket:
        """A socket in a node's network (the first's, if not told), or with "" in the box's own. Raises OSError."""
        number = next(self._numbers)
        future: asyncio.Future[socket.socket] = asyncio.get_running_loop().create_future()
        self._waiting_sockets[number] = future
        try:
            where = self._context.config.node_list[0].name if node is None else node
            self._channel.send(SocketWanted(number, where, datagram))
            return await future
        finally:
            del self._waiting_sockets[number]

    def _socket_made(self, made: SocketMade, descriptor: int | None) -> None:
        future = self._waiting_sockets.get(made.number)
        if future is None or future.done():
            if descriptor is not None:
                os.close(descriptor)
        elif descriptor is None:
            future.set_exception(OSError(made.error))
        else:
            future.set_result(socket.socket(fileno=descriptor))

    async def _answer(self, request: Request) -> Answer:
        match request:
            case control.Status():
                return ClusterStatus(
                    box_pid=self._box_pid,
                    components=list(self._states.values()),
                    published=self._publisher.publications,
                    outbound=self._outbound(),
                )
            case control.Publish():
                return control.Published(publications=await self._publisher.add(request))
            case control.Unpublish(host_port=port, protocol=protocol):
                self._publisher.remove(port, protocol)
                return control.Done()
            case control.Stop():
                return await self._stop()
        raise ControlError(f"unknown request {request}")

    def _outbound(self) -> str:
        if outbound.NAME not in self._states:
            return "none: the cluster is isolated"
        return outbound.describe(self._states[outbound.NAME].state, self._notes.get(outbound.NAME, ""))

    async def _stop(self) -> Answer:
        try:
            await self._close_box()
        except OSError as error:
            return control.Refused(error=f"not everything is gone: {error}")
        return control.Done()


def _admin(context: Context) -> Config:
    """The administrator's way to the API server, from the host."""
    host, port = context.api_sockets[0].getsockname()[:2]
    pki = context.paths.pki
    return Config(
        server=f"https://{host}:{port}",
        ca_file=str(pki / "ca.crt"),
        cert_file=str(pki / "admin.crt"),
        key_file=str(pki / "admin.key"),
    )


def supervise(components: Sequence[Component], context: Context, reporter: Reporter) -> None:
    """The supervisor's whole life, in the process that `launch.py` has made for it."""
    import uvloop

    certificates = _make_certificates(context)
    preload(components)
    certificates.wait()
    warm_up(context.paths.pki)
    supervisor = Supervisor(components, context, reporter)
    with asyncio.Runner(loop_factory=uvloop.Loop) as runner:
        runner.run(supervisor.run())


def preload(components: Sequence[Component]) -> None:
    """Imports what the components run that start first; the box's first process imports the rest while they do."""
    for component in components:
        if not component.after:
            importlib.import_module(component.module)


def _make_certificates(context: Context) -> Helper:
    """Beside the imports, in a process that takes with it what only this needs: some 6 MB."""

    def make() -> None:
        from sampan.cluster import pki

        if not (context.paths.pki / "ca.crt").exists():
            pki.create(context.paths.pki, context.config)

    return Helper("certificates", make)
