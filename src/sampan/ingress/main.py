"""`run`: one ingress controller, from informers to nginx. `parent.py` runs it in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from sampan.client.config import Config
from sampan.client.leader import LeaderElector, unique_identity
from sampan.client.rest import Client
from sampan.http.health import Health
from sampan.http.metrics import Registry
from sampan.ingress import metrics
from sampan.ingress.controller import Controller
from sampan.ingress.feed import Feed
from sampan.ingress.flags import Flags
from sampan.ingress.nginx import Nginx, Place
from sampan.ingress.nginx.metrics import RequestMetrics
from sampan.ingress.status import StatusWriter
from sampan.ingress.teller import Teller

log = logging.getLogger(__name__)

STOP_SECONDS = 240.0
"""How long open requests may last when nginx ends; the pod's grace period may be over before."""
END_SECONDS = 5.0
"""How long handing over may take."""
RETRY_SECONDS = 1.0
PRIVATE = Path("/run/sampan-ingress")


@dataclass(frozen=True, slots=True, kw_only=True)
class IngressOptions:
    """Where the cluster is, what the flags say, and who this is."""

    config: Config
    flags: Flags
    directory: Path = Path("/etc/nginx")
    private: Path = PRIVATE
    namespace: str = ""
    pod: str = ""
    """Empty outside of a pod."""
    tells_creation: bool = False
    """Whether events are those of releases of ingress-nginx before 0.42: CREATE, UPDATE and DELETE."""


async def run(options: IngressOptions, channel: socket.socket | None = None) -> None:
    """Serve until cancelled; then nginx ends in order.

    `channel` leads to the parent: it gets a byte when nginx serves, and its end means that the parent has gone.
    Raises NginxError, OSError.
    """
    flags = options.flags
    client = Client(options.config, user_agent="sampan-ingress")
    nginx = Nginx(Place(options.directory, options.private))
    teller = Teller(client, tells_creation=options.tells_creation, tells_syncs=not flags.disable_sync_events)
    controller = Controller(flags, nginx, teller)
    feed = Feed(client, flags, options.namespace, options.pod, controller.wake)
    leadership = Leadership(client, options, controller, feed, teller)
    registry, own = Registry(), (flags.controller_class, options.namespace, options.pod)
    requests = nginx.observe(registry, own) if flags.enable_metrics else None
    metrics.register(
        registry, own, flags.election_id, lambda: leadership.leads, lambda: controller.applied, lambda: teller.problems
    )
    ends = False

    def serves() -> bool:
        return controller.first_applied.is_set() and nginx.master.is_alive() and not ends

    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(client.close)
        health = Health(registry, live={"nginx": serves})
        port = await health.serve(flags.healthz_host or "0.0.0.0", flags.healthz_port)
        stack.push_async_callback(port.close)
        await nginx.start()
        serving = asyncio.create_task(_serve(controller, feed, leadership, requests, channel))
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            ends = True
            log.info("ending; endpoints are followed for %g s more", flags.shutdown_grace_period)
            await asyncio.gather(leadership.end(), asyncio.sleep(flags.shutdown_grace_period))
            raise
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            await (nginx.stop(seconds=STOP_SECONDS) if ends else nginx.detach())


async def _serve(
    controller: Controller,
    feed: Feed,
    leadership: Leadership,
    requests: RequestMetrics | None,
    channel: socket.socket | None,
) -> None:
    """Everything that runs while nginx serves."""
    async with asyncio.TaskGroup() as group:
        group.create_task(feed.run())
        group.create_task(controller.run(feed))
        await controller.first_applied.wait()
        log.info("nginx serves")
        if channel is not None:
            channel.send(b"1")
            group.create_task(_until_parent_ends(channel))
        if requests is not None:
            group.create_task(requests.run())
        await leadership.run()


class Leadership:
    """What one replica alone does: write events, and the status of Ingresses."""

    def __init__(
        self, client: Client, options: IngressOptions, controller: Controller, feed: Feed, teller: Teller
    ) -> None:
        self._flags, self._feed, self._teller = options.flags, feed, teller
        self._writer = StatusWriter(client, controller.served, feed.addresses)
        controller.on_served = self._writer.wake
        self._elector = LeaderElector(
            client,
            options.namespace or (self._flags.configmap or self._flags.publish_service).partition("/")[0] or "default",
            self._flags.election_id,
            unique_identity(),
            lease_seconds=self._flags.election_ttl,
        )
        self.leads = False
        self._task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Lead whenever it is this replica's turn, until `end` or cancelled."""
        self._feed.on_address_change(self._writer.wake)
        self._task = asyncio.create_task(self._lead_whenever())
        try:
            await asyncio.wait([self._task])
            await asyncio.Event().wait()
        finally:
            self._task.cancel()

    async def _lead_whenever(self) -> None:
        while True:
            try:
                await (self._lead() if self._flags.disable_leader_election else self._elector.run(self._lead))
            except Exception:
                log.exception("leading failed; it is tried again")
                await asyncio.sleep(RETRY_SECONDS)

    async def end(self) -> None:
        """Hand over: nobody serves what nobody else serves, so its addresses go."""
        led = self.leads
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if not led:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                if self._flags.update_status and self._flags.update_status_on_shutdown and self._feed.is_last():
                    await self._writer.clear()
                await self._teller.flush()
                await self._elector.release()

    async def _lead(self) -> None:
        self.leads = True
        self._teller.lead(True)
        try:
            if self._flags.update_status:
                await self._writer.run()
            await asyncio.Event().wait()
        finally:
            self.leads = False
            self._teller.lead(False)


async def _until_parent_ends(channel: socket.socket) -> None:
    """Ends this process in order when its parent has gone."""
    channel.setblocking(False)
    while await asyncio.get_running_loop().sock_recv(channel, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def end_nginx(private: Path = PRIVATE) -> None:
    """End nginx in order where no controller is left to do it, and wait for it."""
    try:
        pid = int((private / "nginx.pid").read_text())
        os.kill(pid, signal.SIGQUIT)
    except (OSError, ValueError):
        return
    while Path(f"/proc/{pid}").exists():
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        time.sleep(0.02)
