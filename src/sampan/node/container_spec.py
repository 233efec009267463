"""From a container of a pod to what the runtime is asked for. Pure but for the paths it is given.

`containers.py` gathers the inputs (image, environment, mounts) and hands the result to the runtime.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sampan.api.core_v1 import Capabilities, Container, Pod, SecurityContext
from sampan.api.pods import is_sidecar
from sampan.kernel.cgroups import Limits
from sampan.machinery import quantity
from sampan.node.env import ConfigError
from sampan.node.expansion import expand
from sampan.node.images.types import Image
from sampan.node.network import PodSandbox
from sampan.node.qos import qos_class
from sampan.node.runtime.types import ContainerSpec, Mount, Namespaces, Resources, Security

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_CPU_PERIOD = 100_000
_MIN_QUOTA = 1_000
_MIN_SHARES, _MAX_SHARES = 2, 262_144
_NO_SECURITY = SecurityContext()
_NO_CAPABILITIES = Capabilities()


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What one run of a container needs besides its declaration."""

    id: str
    attempt: int
    image: Image
    rootfs: Path
    sandbox: PodSandbox
    hostname: str
    environment: Mapping[str, str]
    mounts: tuple[Mount, ...]
    log_path: Path
    cgroup_parent: str
    memory_capacity: int


def build(pod: Pod, container: Container, launch: Launch) -> ContainerSpec:
    """The description that the runtime executes. Raises ConfigError."""
    environment = _with_image(launch, container)
    return ContainerSpec(
        id=launch.id,
        pod_uid=pod.metadata.uid,
        name=container.name,
        attempt=launch.attempt,
        rootfs=launch.rootfs,
        argv=argv(container, launch.image, launch.environment),
        env=environment,
        cwd=container.working_dir or launch.image.config.working_dir or "/",
        hostname=launch.hostname,
        mounts=(*launch.image.mounts, *launch.mounts),
        namespaces=Namespaces(
            network=launch.sandbox.network,
            ipc=launch.sandbox.ipc,
            uts=launch.sandbox.uts,
            host_pid=pod.spec.host_pid,
        ),
        resources=resources(container),
        security=security(pod, container, launch.image),
        oom_score_adj=oom_score_adj(pod, container, launch.memory_capacity),
        tty=container.tty,
        stdin=container.stdin,
        stdin_once=container.stdin_once,
        log_path=launch.log_path,
        cgroup_parent=f"{launch.cgroup_parent}/{pod.metadata.uid}",
        labels={
            "namespace": pod.metadata.namespace,
            "pod": pod.metadata.name,
            "image": launch.image.reference,
            "imageID": launch.image.digest or launch.image.id,
        },
    )


def argv(container: Container, image: Image, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Command and arguments; the image's stand in for what the container does not say. Raises ConfigError."""
    command = tuple(expand(word, environment) for word in container.command)
    args = tuple(expand(word, environment) for word in container.args)
    if not command:
        command = image.config.entrypoint
        args = args or image.config.command
    if not command and not args:
        raise ConfigError("no command specified")
    return command + args


def resources(container: Container) -> Resources:
    """CPU shares follow the request, quota and memory the limits, as upstream computes them."""
    limits = container.resources.limits
    cpu_limit = quantity.parse(str(limits.get("cpu", 0))).milli()
    shares = min(max(_cpu_request(container) * 1024 // 1000, _MIN_SHARES), _MAX_SHARES)
    quota = max(cpu_limit * _CPU_PERIOD // 1000, _MIN_QUOTA) if cpu_limit else 0
    memory = quantity.parse(str(limits.get("memory", 0))).value()
    return Resources(cpu_shares=shares, cpu_quota=quota, cpu_period=_CPU_PERIOD, memory_limit=memory)


def pod_limits(pod: Pod, pids: int) -> Limits:
    """The limits of a pod's own group: its containers' sums, a ceiling only where every container has one.

    Containers of other pods compete with the pod as a whole (kubelet/cm/helpers_linux.go, ResourceConfigForPod).
    """
    everyone = {one.name: resources(one) for one in (*pod.spec.init_containers, *pod.spec.containers)}
    milli = _in_all(pod, {name: _cpu_request(one) for name, one in _containers(pod).items()})
    quotas = {name: one.cpu_quota for name, one in everyone.items()}
    memories = {name: one.memory_limit for name, one in everyone.items()}
    return Limits(
        cpu_shares=min(max(milli * 1024 // 1000, _MIN_SHARES), _MAX_SHARES),
        cpu_quota=_in_all(pod, quotas) if all(quotas.values()) else 0,
        cpu_period=_CPU_PERIOD,
        memory=_in_all(pod, memories) if all(memories.values()) else 0,
        pids=pids,
    )


def _containers(pod: Pod) -> dict[str, Container]:
    return {one.name: one for one in (*pod.spec.init_containers, *pod.spec.containers)}


def _in_all(pod: Pod, amounts: Mapping[str, int]) -> int:
    """What a pod needs at most at a time: init containers run one after the other, sidecars beside all after them."""
    beside = most = 0
    for init in pod.spec.init_containers:
        most = max(most, beside + amounts[init.name])
        beside += amounts[init.name] if is_sidecar(init) else 0
    return max(most, beside + sum(amounts[one.name] for one in pod.spec.containers))


def _cpu_request(container: Container) -> int:
    limits, requests = container.resources.limits, container.resources.requests
    return quantity.parse(str(requests.get("cpu", limits.get("cpu", 0)))).milli()


def security(pod: Pod, container: Container, image: Image) -> Security:
    """The container's security context over the pod's. Raises ConfigError when it forbids running as root."""
    own = container.security_context or _NO_SECURITY
    shared = pod.spec.security_context or _NO_SECURITY
    user = shared.run_as_user if own.run_as_user is None else own.run_as_user
    group = shared.run_as_group if own.run_as_group is None else own.run_as_group
    non_root = bool(shared.run_as_non_root if own.run_as_non_root is None else own.run_as_non_root)
    if non_root:
        _refuse_root(pod, container, image, user)
    capabilities = own.capabilities or _NO_CAPABILITIES
    groups = shared.supplemental_groups + (() if shared.fs_group is None else (shared.fs_group,))
    return Security(
        user=image.config.user,
        run_as_user=user,
        run_as_group=group,
        supplemental_groups=groups,
        add_capabilities=capabilities.add,
        drop_capabilities=capabilities.drop,
        non_root=non_root,
        privileged=own.privileged,
        read_only_root=own.read_only_root_filesystem,
        no_new_privileges=own.allow_privilege_escalation is False,
    )


def oom_score_adj(pod: Pod, container: Container, memory_capacity: int) -> int:
    """How willingly the kernel kills the container when memory runs out."""
    quality = qos_class(pod)
    if quality == "Guaranteed":
        return -997
    if quality == "BestEffort":
        return 1000
    request = quantity.parse(str(container.resources.requests.get("memory", 0))).value()
    return min(max(1000 - math.floor(1000 * request / max(memory_capacity, 1)), 2), 999)


def in_mount_order(mounts: Iterable[Mount]) -> tuple[Mount, ...]:
    """Parents before children; otherwise as declared."""
    return tuple(sorted(mounts, key=lambda mount: mount.destination.rstrip("/").count("/")))


def _refuse_root(pod: Pod, container: Container, image: Image, user: int | None) -> None:
    if user == 0:
        raise ConfigError(f"container's runAsUser breaks non-root policy {_where(pod, container)}")
    if user is None and image.config.user.partition(":")[0] in ("", "0", "root"):
        raise ConfigError(root_refused(pod, container))


def root_refused(pod: Pod, container: Container) -> str:
    """The message when the image's user turns out to be root although that is forbidden."""
    return f"container has runAsNonRoot and image will run as root {_where(pod, container)}"


def _where(pod: Pod, container: Container) -> str:
    name = f"{pod.metadata.name}_{pod.metadata.namespace}({pod.metadata.uid})"
    return f'(pod: "{name}", container: {container.name})'


def _with_image(launch: Launch, container: Container) -> dict[str, str]:
    environment = {"PATH": DEFAULT_PATH, "HOSTNAME": launch.hostname}
    if container.tty:
        environment["TERM"] = "xterm"
    environment |= dict(one.split("=", 1) for one in launch.image.config.env if "=" in one)
    return environment | dict(launch.environment)
