"""The one context object of the agent: what every part of it works with."""

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sampan.api.core_v1 import Pod, Service
from sampan.client.events import EventRecorder
from sampan.client.informer import Informer
from sampan.client.rest import Client
from sampan.kernel import mounts
from sampan.node import rootfs
from sampan.node.fields import PodFacts
from sampan.node.images.store import ImageStore
from sampan.node.network import PodNetwork
from sampan.node.object_cache import ObjectCache
from sampan.node.options import AgentOptions
from sampan.node.runtime.runtime import Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """The node as its agent's parts see it."""

    options: AgentOptions
    client: Client
    recorder: EventRecorder
    runtime: Runtime
    images: ImageStore
    network: PodNetwork
    services: Informer[Service]
    objects: ObjectCache
    allocatable: Mapping[str, str | int]
    labels: Mapping[str, str]
    memory_capacity: int
    creation_slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(8))
    _root_lock: threading.Lock = field(default_factory=threading.Lock)

    def facts(self, pod: Pod, pod_ips: tuple[str, ...] = ()) -> PodFacts:
        name = self.options.node_name
        return PodFacts(pod_ips, (self.options.node_ip,), pod.spec.node_name or name, self.allocatable)

    def host_root(self) -> Path:
        """The node's own root file system, mounted when first asked for. Blocks shortly.

        What pods wrote there is on the node's disk: it outlives the machine's restart. Raises OSError, ImageError.
        """
        directory = self.options.root / "host"
        merged = directory / "rootfs"
        with self._root_lock:
            if not mounts.is_mount(merged):
                image = self.images.find("host")
                if image is None:
                    raise FileNotFoundError("there is no host image")
                merged = rootfs.mount_rootfs(image, directory, mask_layers=self.options.mask_layers, keep=True)
            for extra in self.options.extra_mounts:
                rootfs.mount_extra(merged, extra)
        return merged

    def event(
        self, pod: Pod, type_: str, reason: str, message: str, container: str = "", *, init: bool = False
    ) -> None:
        """Record an event about a pod, or about one of its containers."""
        group = "initContainers" if init else "containers"
        path = f"spec.{group}{{{container}}}" if container else ""
        kind = "Warning" if type_ == "Warning" else "Normal"
        self.recorder.event(pod, kind, reason, message, field_path=path)  # type: ignore[arg-type]
