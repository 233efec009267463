"""The capabilities of a container's processes: containerd's defaults, what a pod adds and drops, all if privileged.

A machine that is itself a container may lack some: what the agent does not have it cannot give, and `oci.py` asks for
no more than that, as containerd does for privileged containers.
"""

from collections.abc import Set
from functools import cache
from pathlib import Path

from sampan.node.runtime.types import Security

_KERNEL_ORDER = """
    CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
    NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN
    SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE
    MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""
ALL = tuple(f"CAP_{name}" for name in _KERNEL_ORDER.split())
"""By number, from 0 (capabilities(7))."""

DEFAULT = frozenset(
    {
        "CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
        "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID",
        "CAP_SYS_CHROOT",
    }
)  # fmt: skip

_BIND = "CAP_NET_BIND_SERVICE"


def capabilities(security: Security, *, root: bool, held: Set[str] = frozenset(ALL)) -> dict[str, list[str]]:
    """The capability sets of a process; a user other than root gets them only where programs can ask for them.

    NET_BIND_SERVICE, if the container adds it, comes without asking: images give it to a server by a file capability,
    which programs of this machine, standing in for such an image, do not have.
    """
    added, dropped = _normalized(security.add_capabilities), _normalized(security.drop_capabilities)
    if security.privileged:
        names = set(ALL)
    else:
        names = set(ALL if "ALL" in added else DEFAULT)
        if "ALL" in dropped:
            names = set()
        names = (names | added) - dropped
    ordered = [name for name in ALL if name in names and name in held]
    if root:
        return {"bounding": ordered, "effective": ordered, "permitted": ordered, "inheritable": []}
    kept = [name for name in ordered if name == _BIND and name in added]
    return {"bounding": ordered} | dict.fromkeys(("effective", "permitted", "inheritable", "ambient"), kept)


@cache
def available() -> frozenset[str]:
    """What this process may give at most: its bounding set (proc(5), CapBnd)."""
    status = Path("/proc/self/status").read_text()
    mask = int(status.partition("CapBnd:")[2].split(None, 1)[0], 16)
    return frozenset(name for number, name in enumerate(ALL) if mask >> number & 1)


def allowed_oom_score(wanted: int, *, held: Set[str]) -> int:
    """The oom_score_adj that can be had: only CAP_SYS_RESOURCE lowers it below this process's own (proc(5))."""
    if "CAP_SYS_RESOURCE" in held:
        return wanted
    return max(wanted, int(Path("/proc/self/oom_score_adj").read_text()))


def _normalized(names: tuple[str, ...]) -> set[str]:
    upper = (name.upper() for name in names)
    return {name if name == "ALL" or name.startswith("CAP_") else f"CAP_{name}" for name in upper}
