"""What to do where the kernel has no IPVS: fall back to iptables, as upstream does, and say so.

modes.py makes the backends of whatever mode comes out of this, at a start and at a change alike. Only ipvs depends on
an optional part of the kernel; any other mode that cannot run is an error, which `make_backends` raises.
"""

from dataclasses import replace

from sampan.client.events import EventRecorder
from sampan.client.rest import Client
from sampan.proxy.backends.registry import BACKENDS
from sampan.proxy.options import ProxyOptions

FALLBACKS = {"ipvs": ("iptables", "nftables")}
"""What may be used instead of a mode, the first that can run."""

REASON = "FailedToStartProxyMode"


def runnable(options: ProxyOptions) -> tuple[ProxyOptions, str]:
    """The options with a mode that this machine can run, and in words why it is not the wanted one (empty if it is)."""
    wanted = options.mode
    why = _problem(options)
    if not why:
        return options, ""
    for mode in FALLBACKS.get(wanted, ()):
        instead = replace(options, mode=mode)
        if not _problem(instead):
            return instead, f"Can't use the {wanted} proxier, using the {mode} proxier: {why}"
    return options, ""


async def report(client: Client, options: ProxyOptions, message: str) -> None:
    """Tell whoever looks at the Node, by an Event; nothing if there is nothing to tell."""
    if message:
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": options.node_name, "uid": options.node_name}}
        recorder = EventRecorder(client, "kube-proxy", options.node_name)
        recorder.event(node, "Warning", REASON, message)
        await recorder.flush()


def _problem(options: ProxyOptions) -> str:
    """Why the mode cannot run here; an unknown mode is not for this module to judge."""
    factory = BACKENDS.get(options.mode)
    for family in options.families if factory else ():
        if factory is not None and (why := factory(options, family).is_supported()):
            return why
    return ""
