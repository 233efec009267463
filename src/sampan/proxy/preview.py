"""What the proxy would do, without doing it: the desired rules as text, and what they would change in the kernel.

For the difference the rules are applied in an empty network namespace, and what the mode's own tools list there is
compared with what they list here; so it is exact for every mode, whatever the kernel prints.
"""

import asyncio
import difflib
from collections.abc import Iterator, Mapping

from sampan.api.core_v1 import Service
from sampan.client.resources import ENDPOINT_SLICES, NODES, SERVICES
from sampan.client.rest import Client
from sampan.kernel import libc, netns, sysctl
from sampan.proxy.backends.registry import BACKENDS
from sampan.proxy.listing import listing
from sampan.proxy.nodeports import node_port_ips
from sampan.proxy.objects import SERVICES_SELECTOR, SLICES_SELECTOR, ProxyNode, Slice
from sampan.proxy.options import ProxyOptions
from sampan.proxy.servicecidrs import service_cidrs
from sampan.proxy.state import State
from sampan.proxy.tracker import Tracker

NONLOCAL_BIND = {4: "net.ipv4.ip_nonlocal_bind", 6: "net.ipv6.ip_nonlocal_bind"}


async def states(options: ProxyOptions) -> dict[int, State]:
    """Everything this node must do now, by family. Raises StatusError, OSError."""
    tracker = Tracker(options.node_name, options.families, node_port_ips(options))
    client = Client(options.config)
    try:
        for node in (
            await client.list(NODES, type=ProxyNode, field_selector=f"metadata.name={options.node_name}")
        ).items:
            tracker.node_changed(None, node)
        for service in (await client.list(SERVICES, type=Service, label_selector=SERVICES_SELECTOR)).items:
            tracker.service_changed(None, service)
        for each in (await client.list(ENDPOINT_SLICES, type=Slice, label_selector=SLICES_SELECTOR)).items:
            tracker.slice_changed(None, each)
        tracker.set_service_cidrs(await service_cidrs(client))
    finally:
        await client.close()
    return {family: outcome.state for family, outcome in tracker.take().items()}


def rendered(options: ProxyOptions, wanted: Mapping[int, State]) -> str:
    """The desired rules in the words of the mode's own tool. Touches nothing."""
    return "".join(
        f"# {options.mode}, IPv{family}\n{BACKENDS[options.mode](options, family).render(state)}"
        for family, state in wanted.items()
    )


async def difference(options: ProxyOptions, wanted: Mapping[int, State]) -> list[str]:
    """A unified diff from what is in the kernel to what a proxy with these options would leave there.

    Raises BackendError, OSError.
    """
    lines: list[str] = []
    for family, state in wanted.items():
        for mode in BACKENDS:
            if mode == options.mode:
                present, future = (
                    await listing(mode, family),
                    await asyncio.to_thread(_apply_in_namespace, options, state),
                )
            else:
                present, future = await listing(mode, family, beside=options.mode), []
            lines += _diff(present, future, f"{mode}, IPv{family}")
    return lines


def _diff(present: list[str], future: list[str], what: str) -> Iterator[str]:
    yield from difflib.unified_diff(present, future, f"kernel ({what})", f"wanted ({what})", lineterm="", n=1)


def _apply_in_namespace(options: ProxyOptions, state: State) -> list[str]:
    """What the kernel lists after `state` was applied in an empty network namespace."""

    async def apply() -> list[str]:
        backend = BACKENDS[options.mode](options, state.family)
        try:
            await backend.apply(state, None)
            return await listing(options.mode, state.family)
        finally:
            backend.close()

    def inside() -> list[str]:
        libc.unshare(libc.CLONE_NEWNET)
        sysctl.write_all({NONLOCAL_BIND[state.family]: 1}, optional=True)
        return asyncio.run(apply())

    return netns.in_new_thread(inside)
