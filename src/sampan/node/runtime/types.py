"""What the node agent tells the runtime about a container, and what the runtime tells back.

`oci.py` turns a `ContainerSpec` into an OCI configuration, `runtime.py` runs it and reports `ContainerState`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Status = Literal["created", "running", "stopped"]


class ContainerError(Exception):
    """A container could not be created, started or changed; the message is crun's own."""


class ContainerNotFound(ContainerError):
    """There is no container of that id."""


class ExecTimeout(ContainerError):
    """A command in a container did not end in time and was killed."""


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount of a container, in OCI terms."""

    destination: str
    source: str
    type: str = "bind"
    options: tuple[str, ...] = ("rbind", "rprivate")

    @classmethod
    def bind(cls, source: Path | str, destination: str, *, read_only: bool = False, propagation: str = "") -> "Mount":
        """A directory or file of the node; `propagation` is a volume mount's None, HostToContainer or Bidirectional."""
        kind = {"HostToContainer": "rslave", "Bidirectional": "rshared"}.get(propagation, "rprivate")
        return cls(destination, str(source), "bind", ("rbind", kind, "ro" if read_only else "rw"))

    @classmethod
    def tmpfs(cls, destination: str, *, size: int | None = None, mode: str = "1777") -> "Mount":
        limit = () if size is None else (f"size={size}",)
        return cls(destination, "tmpfs", "tmpfs", ("nosuid", "nodev", f"mode={mode}", *limit))


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespaces:
    """Which namespaces a container joins, by path. None: the node's own, except pid, where None is one of its own."""

    network: Path | None = None
    ipc: Path | None = None
    uts: Path | None = None
    pid: Path | None = None
    host_pid: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Limits of a container; 0 is unlimited. CPU quota is in microseconds per period, memory in bytes."""

    cpu_shares: int = 2
    cpu_quota: int = 0
    cpu_period: int = 100_000
    memory_limit: int = 0
    pids_limit: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """The security context of a container, container and pod level already merged."""

    user: str = ""
    """`name`, `uid`, `name:group` or `uid:gid`, as images write it; looked up in the container's own /etc/passwd."""
    run_as_user: int | None = None
    run_as_group: int | None = None
    supplemental_groups: tuple[int, ...] = ()
    add_capabilities: tuple[str, ...] = ()
    drop_capabilities: tuple[str, ...] = ()
    non_root: bool = False
    """Whether the program must not run as user 0, by whatever name."""
    privileged: bool = False
    read_only_root: bool = False
    no_new_privileges: bool = False
    unmasked_proc: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """Everything that decides how a container runs."""

    id: str
    pod_uid: str
    name: str
    """The container's name in the pod."""
    attempt: int = 0
    """How often this container of the pod was started before."""
    rootfs: Path
    """What `rootfs.mount_rootfs` returned."""
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = "/"
    hostname: str = ""
    mounts: tuple[Mount, ...] = ()
    """The image's own mounts (`Image.mounts`) first, then volumes."""
    namespaces: Namespaces = Namespaces()
    resources: Resources = Resources()
    security: Security = Security()
    oom_score_adj: int = 0
    rlimits: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """`RLIMIT_NOFILE` and others: (soft, hard)."""
    tty: bool = False
    stdin: bool = False
    stdin_once: bool = False
    log_path: Path
    """Where conmon writes the log, in the CRI format; its directory is made by the runtime."""
    cgroup_parent: str
    """`/sampan-<cluster>/<node>/<pod uid>`; the container's own group is named after its id below it."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Kept with the container for whoever adopts it after a restart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerState:
    """What is known of a container, read from disk and from the kernel, never from memory alone."""

    id: str
    pod_uid: str
    name: str
    attempt: int
    status: Status
    pid: int = 0
    exit_code: int = 0
    """128 + n when signal n ended it."""
    created_at: float = 0.0
    started_at: float = 0.0
    finished_at: float = 0.0
    oom_killed: bool = False
    log_path: Path
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExecResult:
    """How a command in a container ended; output is cut at the limit given."""

    exit_code: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True, slots=True)
class Stats:
    """What a container uses now: CPU time since it started in nanoseconds, memory in bytes."""

    cpu_nanoseconds: int
    memory_usage: int
    memory_working_set: int
