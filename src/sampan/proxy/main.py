"""`run`: one proxy, from informers to kernel rules, inside the network namespace of its node."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack

from sampan.api.core_v1 import Service
from sampan.client.informer import Informers
from sampan.client.resources import ENDPOINT_SLICES, NODES, SERVICES
from sampan.client.rest import Client
from sampan.http.server import serve
from sampan.proxy import conntrack
from sampan.proxy.backends.interface import BackendError
from sampan.proxy.fallback import report, runnable
from sampan.proxy.health import HealthServer, ServiceHealthServers
from sampan.proxy.metrics import Metrics
from sampan.proxy.modes import ModeSwitch, make_backends, remove_leftovers, wanted_now
from sampan.proxy.nodeports import everywhere, follow_addresses, health_check_hosts, node_port_ips
from sampan.proxy.objects import SERVICES_SELECTOR, SLICES_SELECTOR, ProxyNode, Slice, trigger_time
from sampan.proxy.options import ProxyOptions
from sampan.proxy.problems import ProblemReporter
from sampan.proxy.servicecidrs import follow_service_cidrs
from sampan.proxy.syncer import Syncer
from sampan.proxy.tracker import Tracker

log = logging.getLogger(__name__)

LEFTOVERS_SECONDS = 1.0
"""When to look for rules of other modes: starting their tools may wait until everything of this node has started."""


async def run(options: ProxyOptions, ready: Callable[[], None] = lambda: None) -> None:
    """Proxy until cancelled; `ready` is called when the rules stand for the first time. Raises BackendError."""
    conntrack.apply(dict(options.conntrack))
    options, instead = runnable(wanted_now(options))
    if instead:
        log.warning("%s", instead)
    backends = make_backends(options)
    metrics = Metrics()
    served_at = node_port_ips(options)
    tracker = Tracker(options.node_name, options.families, served_at)
    syncer = Syncer(tracker, backends, metrics, options.sync_period)
    async with AsyncExitStack() as stack:
        client = Client(options.config)
        stack.push_async_callback(client.close)
        informers = Informers(client)
        eligible = follow(informers, options, tracker, syncer, metrics)
        modes = ModeSwitch(options, syncer)
        health = HealthServer(lambda: modes.mode, syncer, metrics, eligible)
        checks = ServiceHealthServers(lambda: health.alive, health_check_hosts(options, served_at))

        def moved(ips: tuple[str, ...]) -> None:
            tracker.set_node_ips(ips)
            checks.move(health_check_hosts(options, ips))
            if tracker.dirty:
                syncer.wake()

        problems = ProblemReporter(client, tracker, options.node_name)
        syncer.add_listener(checks.update)
        syncer.add_listener(lambda _: problems.update())
        await listen(stack, options, health)
        async with asyncio.TaskGroup() as group:
            group.create_task(informers.run())
            group.create_task(checks.run())
            group.create_task(problems.run())
            group.create_task(follow_service_cidrs(client, tracker, syncer))
            group.create_task(follow_addresses(options, moved))
            await informers.wait_synced()
            group.create_task(syncer.run(ready))
            group.create_task(report(client, options, instead))
            await syncer.first_success.wait()
            await asyncio.sleep(LEFTOVERS_SECONDS)
            await remove_leftovers(options)
            await modes.run()


def follow(
    informers: Informers, options: ProxyOptions, tracker: Tracker, syncer: Syncer, metrics: Metrics
) -> Callable[[], bool]:
    """Let the tracker hear of everything; returns the question whether this Node should get external traffic."""

    def services(old: Service | None, new: Service | None) -> None:
        tracker.service_changed(old, new)
        metrics.service_changes.add()
        syncer.wake()

    def slices(old: Slice | None, new: Slice | None) -> None:
        tracker.slice_changed(old, new)
        metrics.endpoint_changes.add()
        triggered = trigger_time(new)
        if new and triggered and triggered != trigger_time(old) and syncer.first_success.is_set():
            syncer.note_trigger(triggered, new.address_type)
        syncer.wake()

    def nodes(old: ProxyNode | None, new: ProxyNode | None) -> None:
        tracker.node_changed(old, new)
        if tracker.dirty:
            syncer.wake()

    informers.of(SERVICES, Service, label_selector=SERVICES_SELECTOR).add_handler(services)
    informers.of(ENDPOINT_SLICES, Slice, label_selector=SLICES_SELECTOR).add_handler(slices)
    own = informers.of(NODES, ProxyNode, field_selector=f"metadata.name={options.node_name}")
    own.add_handler(nodes)

    def eligible() -> bool:
        node = own.get("", options.node_name)
        return node is None or not node.is_terminating

    return eligible


async def listen(stack: AsyncExitStack, options: ProxyOptions, health: HealthServer) -> None:
    """Open the health and metrics ports; one that is taken is reported and done without, unless they must be open."""
    wanted = (
        (health.healthz, options.healthz_address, options.healthz_port),
        (health.metrics, options.metrics_address, options.metrics_port),
    )
    for handler, host, port in ((each[0], at, each[2]) for each in wanted for at in everywhere(options, each[1])):
        try:
            server = await serve(handler, host=host, port=port)
        except OSError as error:
            if options.must_listen:
                raise BackendError(f"listening on {host}:{port}: {error.strerror}") from error
            log.error("listening on %s:%d: %s", host, port, error)
            continue
        stack.push_async_callback(server.close)
