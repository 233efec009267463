"""A ContainerSpec as OCI runtime configuration, the config.json that crun reads.

Pure but for `users.py`, which looks names up in the container's root file system, and `capabilities.available`.
Defaults are those that containerd gives to Kubernetes containers: capabilities, masked and read-only paths, devices.
"""

from typing import Any

from sampan.node.runtime.capabilities import allowed_oom_score, available, capabilities
from sampan.node.runtime.types import ContainerSpec, Mount, Namespaces
from sampan.node.runtime.users import Identity

Config = dict[str, Any]

OCI_VERSION = "1.0.2"
MASKED_PATHS = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
READ_ONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NO_SPECIAL = ("nosuid", "noexec", "nodev")
_TERMINALS = ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")


def configuration(spec: ContainerSpec, identity: Identity) -> Config:
    """The whole of config.json."""
    return {
        "ociVersion": OCI_VERSION,
        "root": {"path": str(spec.rootfs), "readonly": spec.security.read_only_root},
        "process": _process(spec, identity),
        "mounts": [_mount(mount) for mount in (*_system_mounts(spec), *spec.mounts)],
        "linux": _linux(spec),
    }


def _process(spec: ContainerSpec, identity: Identity) -> Config:
    environment = {"PATH": DEFAULT_PATH}
    if spec.hostname:
        environment["HOSTNAME"] = spec.hostname
    if spec.tty:
        environment["TERM"] = "xterm"
    environment["HOME"] = identity.home
    environment |= spec.env
    return {
        "terminal": spec.tty,
        "user": {"uid": identity.uid, "gid": identity.gid, "additionalGids": list(identity.groups)},
        "args": list(spec.argv),
        "env": [f"{name}={value}" for name, value in environment.items()],
        "cwd": spec.cwd or "/",
        "capabilities": capabilities(spec.security, root=identity.uid == 0, held=available()),
        "noNewPrivileges": spec.security.no_new_privileges,
        "oomScoreAdj": allowed_oom_score(spec.oom_score_adj, held=available()),
        "rlimits": [{"type": name, "soft": soft, "hard": hard} for name, (soft, hard) in spec.rlimits.items()],
    }


def _system_mounts(spec: ContainerSpec) -> list[Mount]:
    own = {mount.destination.rstrip("/") for mount in spec.mounts}
    system = "rw" if spec.security.privileged else "ro"
    found = [
        Mount("/proc", "proc", "proc", _NO_SPECIAL),
        Mount("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
        Mount(
            "/dev/pts", "devpts", "devpts", ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")
        ),
        Mount("/dev/mqueue", "mqueue", "mqueue", _NO_SPECIAL),
        Mount("/dev/shm", "shm", "tmpfs", (*_NO_SPECIAL, "mode=1777", "size=65536k")),
        Mount("/sys", "sysfs", "sysfs", (*_NO_SPECIAL, system)),
        Mount("/sys/fs/cgroup", "cgroup", "cgroup", (*_NO_SPECIAL, "relatime", system)),
    ]
    if spec.namespaces.network is None:
        found[5] = Mount("/sys", "/sys", "bind", ("rbind", "rslave", *_NO_SPECIAL, system))
        del found[6]
    return [mount for mount in found if mount.destination not in own]


def _mount(mount: Mount) -> Config:
    return {
        "destination": mount.destination,
        "type": mount.type,
        "source": mount.source,
        "options": list(mount.options),
    }


def _linux(spec: ContainerSpec) -> Config:
    security = spec.security
    masked = not (security.privileged or security.unmasked_proc)
    return {
        "namespaces": _namespaces(spec.namespaces),
        "cgroupsPath": f"{spec.cgroup_parent}/{spec.id}",
        "resources": _resources(spec),
        "maskedPaths": list(MASKED_PATHS) if masked else [],
        "readonlyPaths": list(READ_ONLY_PATHS) if masked else [],
        "rootfsPropagation": "rslave",
    }


def _namespaces(namespaces: Namespaces) -> list[Config]:
    paths = {"network": namespaces.network, "ipc": namespaces.ipc, "uts": namespaces.uts, "pid": namespaces.pid}
    found: list[Config] = [{"type": kind, "path": str(path)} for kind, path in paths.items() if path is not None]
    if namespaces.pid is None and not namespaces.host_pid:
        found.append({"type": "pid"})
    found.append({"type": "mount"})
    return found


def _resources(spec: ContainerSpec) -> Config:
    wanted = spec.resources
    cpu: Config = {"shares": max(2, wanted.cpu_shares)}
    if wanted.cpu_quota:
        cpu |= {"quota": wanted.cpu_quota, "period": wanted.cpu_period}
    found: Config = {"cpu": cpu, "devices": _devices(privileged=spec.security.privileged)}
    if wanted.memory_limit:
        found["memory"] = {"limit": wanted.memory_limit}
    if wanted.pids_limit:
        found["pids"] = {"limit": wanted.pids_limit}
    return found


def _devices(*, privileged: bool) -> list[Config]:
    return [{"allow": privileged, "access": "rwm"}]
