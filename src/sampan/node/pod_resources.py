"""What a pod's containers share: sandbox, volumes, and the files /etc/hosts, /etc/resolv.conf and /etc/hostname.

`prepare` is repeated until it succeeds, with events that say what is in the way; `worker.py` starts containers once
it has.
"""

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path

from sampan.api.core_v1 import Pod
from sampan.api.pods import serving_containers
from sampan.kernel import cgroups
from sampan.node import container_spec, dns, hosts, leftovers
from sampan.node.hosts import PodHostname
from sampan.node.network import PodSandbox
from sampan.node.node import Node
from sampan.node.node_rules import HostPort
from sampan.node.runtime.types import Mount
from sampan.node.volumes.errors import VolumeError
from sampan.node.volumes.manager import PodVolumes

log = logging.getLogger(__name__)

FIRST_RETRY_SECONDS = 0.5
LAST_RETRY_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Prepared:
    """A pod's shared resources, ready for its containers."""

    sandbox: PodSandbox
    ips: tuple[str, ...]
    names: PodHostname
    volumes: dict[str, Path]


class PodResources:
    """The shared resources of one pod."""

    def __init__(self, node: Node, pod: Pod, directory: Path) -> None:
        self.directory = directory
        self.sandbox: PodSandbox | None = None
        self._node = node
        self._volumes = PodVolumes(node.client, node.objects, directory / "volumes", node.host_root, pod)
        self._task: asyncio.Task[Prepared] | None = None

    def begin(self, pod: Pod) -> "asyncio.Task[Prepared]":
        """Have everything made, in the background."""
        if self._task is None:
            self._task = asyncio.create_task(self._prepare(pod))
            self._task.add_done_callback(_fetch)
        return self._task

    async def ready(self, pod: Pod) -> Prepared:
        """Wait until everything is there."""
        return await asyncio.shield(self.begin(pod))

    @property
    def ips(self) -> tuple[str, ...]:
        """The pod's addresses; empty before it has any."""
        return (self.sandbox.ips or (self._node.options.node_ip,)) if self.sandbox else ()

    def update(self, pod: Pod) -> None:
        self._volumes.update(pod)

    def adopt(self, pod: Pod) -> bool:
        """Take over the sandbox that an earlier agent made; whether there is one."""
        self.sandbox = self._node.network.find(pod.metadata.uid)
        return self.sandbox is not None

    def files(self) -> dict[str, Path]:
        """Managed files, by where containers see them."""
        return {f"/etc/{name}": self.directory / "etc" / name for name in ("hosts", "resolv.conf", "hostname")}

    async def release(self) -> None:
        """Stop all work on the resources, wait until it has ended, and leave them as they are."""
        self._volumes.release()
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def release_network(self, pod: Pod) -> None:
        """The pod is over: free its address. What its containers wrote stays."""
        await self.release()
        self.sandbox = None
        await self._node.network.remove(pod.metadata.uid)

    async def tear_down(self, pod: Pod) -> None:
        """Remove everything, logs included."""
        await self.release()
        await leftovers.remove(self._node, pod.metadata.uid)

    # --- making them

    async def _prepare(self, pod: Pod) -> Prepared:
        delay = FIRST_RETRY_SECONDS
        while True:
            sandbox, volumes = await asyncio.gather(
                self._make_sandbox(pod), self._make_volumes(pod), return_exceptions=True
            )
            if isinstance(sandbox, PodSandbox) and isinstance(volumes, dict):
                try:
                    return self._finish(pod, sandbox, volumes)
                except Exception as error:
                    self._report(pod, error)
            else:
                self._report(pod, sandbox, volumes)
            await asyncio.sleep(delay)
            delay = min(delay * 2, LAST_RETRY_SECONDS)

    def _report(self, pod: Pod, *outcomes: object) -> None:
        for outcome in outcomes:
            if isinstance(outcome, VolumeError):
                self._node.event(pod, "Warning", "FailedMount", str(outcome))
            elif isinstance(outcome, Exception):
                log.warning("%s: making the sandbox: %s", pod.metadata.key, outcome)
                message = f"Failed to create pod sandbox: {outcome}"
                self._node.event(pod, "Warning", "FailedCreatePodSandBox", message)
            elif isinstance(outcome, BaseException):
                raise outcome

    def _make_group(self, pod: Pod) -> None:
        """The pod's control group, within which its containers share what the pod may have. Blocks shortly."""
        group = f"{self._node.options.cgroup_parent}/{pod.metadata.uid}"
        for error in cgroups.limit(group, container_spec.pod_limits(pod, self._node.options.pod_pids_limit)):
            log.warning("%s: limits of its control group: %s", pod.metadata.key, error)

    async def _make_sandbox(self, pod: Pod) -> PodSandbox:
        self._make_group(pod)
        names = self._names(pod)
        security = pod.spec.security_context
        return await self._node.network.add(
            pod.metadata.uid,
            hostname=names.hostname,
            host_network=pod.spec.host_network,
            host_ipc=pod.spec.host_ipc,
            host_ports=_host_ports(pod),
            sysctls={one["name"]: one["value"] for one in security.sysctls} if security else {},
        )

    async def _make_volumes(self, pod: Pod) -> dict[str, Path]:
        return await self._volumes.set_up(pod, self._node.facts(pod))

    def _finish(self, pod: Pod, sandbox: PodSandbox, volumes: dict[str, Path]) -> Prepared:
        names = self._names(pod)
        self.sandbox = sandbox
        self._write_files(pod, self.ips, names)
        return Prepared(sandbox, self.ips, names, volumes)

    def _names(self, pod: Pod) -> PodHostname:
        return hosts.pod_hostname(pod, self._node.options.cluster_domain, self._node.options.node_name)

    def _write_files(self, pod: Pod, ips: tuple[str, ...], names: PodHostname) -> None:
        options = self._node.options
        if pod.spec.host_network:
            hosts_text = hosts.host_network_hosts_file(pod, _read(Path("/etc/hosts")))
        else:
            hosts_text = hosts.hosts_file(pod, ips, names)
        own = dns.parse(_read(options.resolv_conf))
        resolver = dns.for_pod(pod, options.cluster_dns, options.cluster_domain, own)
        texts = {"hosts": hosts_text, "resolv.conf": resolver.render(), "hostname": f"{names.hostname}\n"}
        folder = self.directory / "etc"
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text)


def file_mounts(resources: PodResources, taken: set[str]) -> list[Mount]:
    """Mounts of the managed files, but for paths where the container mounts something of its own."""
    return [Mount.bind(path, target) for target, path in resources.files().items() if target not in taken]


def _host_ports(pod: Pod) -> list[HostPort]:
    if pod.spec.host_network:
        return []
    return [
        HostPort(port.host_port, port.container_port, port.protocol, port.host_ip)
        for container in serving_containers(pod)
        for port in container.ports
        if port.host_port
    ]


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _fetch(task: "asyncio.Task[Prepared]") -> None:
    """Whoever waits for the task hears of its failure; nobody has to wait."""
    if not task.cancelled():
        task.exception()
