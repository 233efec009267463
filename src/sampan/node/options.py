"""What a node agent is told when it starts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sampan.client.config import Config
from sampan.node.images.dialing import MACHINE, Ways


@dataclass(frozen=True, slots=True)
class NodeMount:
    """A file or directory of the machine, `source`, at the path `target` of the node's root file system."""

    source: Path
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOptions:
    """One node. The agent runs inside the node's network namespace."""

    node_name: str
    node_ip: str
    config: Config
    root: Path
    """The node's own directory: pods, volumes, logs, sandboxes. It survives the agent."""
    run: Path | None = None
    """Where to keep what ends with the machine (runtime state, namespaces): best a tmpfs. None: below `root`."""
    images: Path
    """The image store, shared with other nodes."""
    pod_cidr: str = ""
    """Empty: wait for `spec.podCIDR` of the Node object."""
    direct_networks: tuple[str, ...] = ("10.244.0.0/16", "10.2.2.0/24")
    """Networks that pods reach without masquerading: the cluster's pods and nodes."""
    service_networks: tuple[str, ...] = ("10.96.0.0/12",)
    """Addresses of Services."""
    cluster_dns: tuple[str, ...] = ("10.96.0.10",)
    cluster_domain: str = "cluster.local"
    resolv_conf: Path = Path("/etc/resolv.conf")
    serving_cert: Path | None = None
    serving_key: Path | None = None
    client_ca: Path | None = None
    """Without these three the agent serves no API: no logs, no exec."""
    port: int = 10250
    health_port: int | None = None
    """Of /healthz on the loopback address, as kubelet's 10248; None: it is not served."""
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Mapping[str, str], ...] = ()
    capacity: Mapping[str, str] = field(default_factory=dict)
    """Overrides of what is measured: `{"cpu": "4", "pods": "250"}`."""
    eviction_hard: Mapping[str, str] = field(
        default_factory=lambda: {"memory.available": "100Mi", "nodefs.available": "5%"}
    )
    """Below these amounts, or shares, pods are evicted and the node's conditions say so."""
    kubernetes_version: str = "1.36"
    cgroup_parent: str = "/sampan"
    hidden: tuple[Path, ...] = ()
    """Directories of this machine that pods of the `host` image must not see."""
    extra_mounts: tuple[NodeMount, ...] = ()
    """What of the machine hostPath volumes find besides the node's own files."""
    registries: Ways = MACHINE
    """How image registries are reached."""
    pod_pids_limit: int = 8192
    """How many processes and threads a pod may have; 0 is unlimited."""
    sync_seconds: float = 10.0
    """How often the status of node and pods is compared with what the API server has."""
    parallel_starts: int = 8
    """Containers that may be in creation at once."""

    @property
    def volatile(self) -> Path:
        return self.run or self.root / "run"

    @property
    def mask_layers(self) -> Path:
        """Layers that hide directories from containers (`mask_layers.py`)."""
        return self.volatile / "masks"

    @property
    def pods(self) -> Path:
        return self.root / "pods"

    @property
    def logs(self) -> Path:
        return self.root / "logs"
