"""Pods and their status."""

from msgspec import field

from sampan.api.core_v1.containers import Container, SecurityContext
from sampan.api.core_v1.placement import Affinity, Toleration, TopologySpreadConstraint
from sampan.api.core_v1.values import LocalReference
from sampan.api.core_v1.volumes import Volume
from sampan.api.meta_v1 import APIObject, Condition, Struct


class HostAlias(Struct, frozen=True):
    ip: str = ""
    hostnames: tuple[str, ...] = ()


class PodDNSOption(Struct, frozen=True):
    name: str = ""
    value: str | None = None


class PodDNSConfig(Struct, frozen=True):
    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[PodDNSOption, ...] = ()


class PodReadinessGate(Struct, frozen=True):
    condition_type: str = ""


class PodSpec(Struct, frozen=True):
    volumes: tuple[Volume, ...] = ()
    init_containers: tuple[Container, ...] = ()
    containers: tuple[Container, ...] = ()
    restart_policy: str = "Always"
    termination_grace_period_seconds: int = 30
    active_deadline_seconds: int | None = None
    dns_policy: str = "ClusterFirst"
    dns_config: PodDNSConfig | None = None
    node_selector: dict[str, str] = {}
    service_account_name: str = ""
    automount_service_account_token: bool | None = None
    node_name: str = ""
    host_network: bool = False
    host_pid: bool = field(default=False, name="hostPID")
    host_ipc: bool = field(default=False, name="hostIPC")
    share_process_namespace: bool = False
    security_context: SecurityContext | None = None
    image_pull_secrets: tuple[LocalReference, ...] = ()
    hostname: str = ""
    subdomain: str = ""
    set_hostname_as_fqdn: bool = field(default=False, name="setHostnameAsFQDN")
    affinity: Affinity | None = None
    scheduler_name: str = "default-scheduler"
    tolerations: tuple[Toleration, ...] = ()
    host_aliases: tuple[HostAlias, ...] = ()
    priority_class_name: str = ""
    priority: int = 0
    readiness_gates: tuple[PodReadinessGate, ...] = ()
    enable_service_links: bool = True
    topology_spread_constraints: tuple[TopologySpreadConstraint, ...] = ()
    scheduling_gates: tuple[LocalReference, ...] = ()
    overhead: dict[str, str | int | float] = {}
    preemption_policy: str = "PreemptLowerPriority"


class ContainerStateWaiting(Struct, frozen=True):
    reason: str = ""
    message: str = ""


class ContainerStateRunning(Struct, frozen=True):
    started_at: str | None = None


class ContainerStateTerminated(Struct, frozen=True):
    exit_code: int = 0
    signal: int = 0
    reason: str = ""
    message: str = ""
    started_at: str | None = None
    finished_at: str | None = None
    container_id: str = field(default="", name="containerID")


class ContainerState(Struct, frozen=True):
    waiting: ContainerStateWaiting | None = None
    running: ContainerStateRunning | None = None
    terminated: ContainerStateTerminated | None = None


class ContainerStatus(Struct, frozen=True):
    name: str = ""
    state: ContainerState = ContainerState()
    last_state: ContainerState = ContainerState()
    ready: bool = False
    restart_count: int = 0
    image: str = ""
    image_id: str = field(default="", name="imageID")
    container_id: str = field(default="", name="containerID")
    started: bool | None = None


class PodIP(Struct, frozen=True):
    ip: str = ""


class PodStatus(Struct, frozen=True):
    phase: str = ""
    conditions: tuple[Condition, ...] = ()
    message: str = ""
    reason: str = ""
    nominated_node_name: str = ""
    host_ip: str = field(default="", name="hostIP")
    pod_ip: str = field(default="", name="podIP")
    pod_ips: tuple[PodIP, ...] = field(default=(), name="podIPs")
    start_time: str | None = None
    init_container_statuses: tuple[ContainerStatus, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()
    qos_class: str = field(default="", name="qosClass")


class Pod(APIObject, frozen=True):
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()
