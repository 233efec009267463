"""What a node is and has: read from the machine, overridden by its options, put as a Node's status says it."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import sampan

Amounts = dict[str, str | int]

DEFAULT_MAX_PODS = "110"
_KIB = 1024


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """One reading of the machine."""

    cpus: int
    memory_bytes: int
    disk_bytes: int
    disk_available_bytes: int
    memory_available_bytes: int
    kernel: str
    os_image: str
    machine_id: str
    boot_id: str


def read(root: Path) -> MachineFacts:
    """Measure; `root` is on the file system that pods use."""
    memory = _meminfo()
    disk = os.statvfs(root)
    return MachineFacts(
        cpus=len(os.sched_getaffinity(0)),
        memory_bytes=memory.get("MemTotal", 0) * _KIB,
        disk_bytes=disk.f_frsize * disk.f_blocks,
        disk_available_bytes=disk.f_frsize * disk.f_bavail,
        memory_available_bytes=memory.get("MemAvailable", 0) * _KIB,
        kernel=platform.release(),
        os_image=_os_image(),
        machine_id=_text("/etc/machine-id"),
        boot_id=_text("/proc/sys/kernel/random/boot_id"),
    )


def capacity(facts: MachineFacts, overrides: Mapping[str, str]) -> Amounts:
    """What the node has in all."""
    measured: Amounts = {
        "cpu": str(facts.cpus),
        "ephemeral-storage": f"{facts.disk_bytes // _KIB}Ki",
        "hugepages-1Gi": "0",
        "hugepages-2Mi": "0",
        "memory": f"{facts.memory_bytes // _KIB}Ki",
        "pods": DEFAULT_MAX_PODS,
    }
    return measured | dict(overrides)


def node_info(facts: MachineFacts, kubernetes_version: str) -> dict[str, str]:
    """`status.nodeInfo`."""
    return {
        "architecture": architecture(),
        "bootID": facts.boot_id,
        "containerRuntimeVersion": f"sampan://{sampan.__version__}",
        "kernelVersion": facts.kernel,
        "kubeProxyVersion": "",
        "kubeletVersion": release(kubernetes_version),
        "machineID": facts.machine_id,
        "operatingSystem": "linux",
        "osImage": facts.os_image,
        "systemUUID": facts.machine_id,
    }


def release(kubernetes_version: str) -> str:
    """`1.36` → `v1.36.0`."""
    return f"v{kubernetes_version}" + (".0" if kubernetes_version.count(".") == 1 else "")


def architecture() -> str:
    """The machine's architecture, as Go calls it."""
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}.get(machine, machine)


def _meminfo() -> dict[str, int]:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) for line in lines if ":" in line}


def _os_image() -> str:
    for line in _text("/etc/os-release").splitlines():
        name, _, value = line.partition("=")
        if name == "PRETTY_NAME":
            return value.strip('"')
    return "Linux"


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
