"""What processes in the box see of the machine: its files, but a /proc, /sys, /run and control groups of their own.

Runs in the box's first process, right after it got its own namespaces; no mount made here is seen outside. Control
groups are mounted afresh with the cluster's group as their root, so that nothing in the box can leave it. On a machine
with control groups of both versions only version 1 is mounted, because crun refuses a mixture.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sampan.dns import resolvconf
from sampan.kernel import cgroups, libc, mounts

NAMESPACES = libc.CLONE_NEWNS | libc.CLONE_NEWNET | libc.CLONE_NEWUTS | libc.CLONE_NEWIPC | libc.CLONE_NEWCGROUP
RUN = Path("/run/sampan")
HOST_NETWORK = RUN / "netns" / "host"
UPSTREAM_RESOLV = RUN / "upstream-resolv.conf"
CLUSTER_RESOLV = RUN / "cluster-resolv.conf"
KUBECONFIG = RUN / "kubeconfig"
CGROUP_ROOT = Path("/sys/fs/cgroup")
COMPONENTS_GROUP = "components"

_SAFE = mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC


@dataclass(frozen=True, slots=True)
class _Machine:
    """What must be remembered of the machine before it is covered."""

    groups: cgroups.Hierarchies
    links: dict[str, str]
    resolv_conf: str
    network: int


def enter(hostname: str, keep: Path, name_server: str) -> None:
    """Moves this process, which must be first in its PID namespace, into the box.

    `keep` stays visible in any case; `name_server` answers in the box as the machine's own do outside (`outside.py`).
    """
    with _remembered() as machine:
        libc.unshare(NAMESPACES)
        libc.sethostname(hostname)
        mounts.make_private("/")
        mounts.mount("proc", "/proc", "proc", _SAFE)
        _mount_run(machine, keep)
        UPSTREAM_RESOLV.write_text(resolvconf.with_server(machine.resolv_conf, name_server))
        mounts.mount("sysfs", "/sys", "sysfs", _SAFE)
        _mount_groups(machine)
        if Path("/dev/mqueue").is_dir():
            mounts.mount("mqueue", "/dev/mqueue", "mqueue", _SAFE)
    cgroups.hierarchies.cache_clear()


@contextmanager
def _remembered() -> Iterator[_Machine]:
    resolv_conf = resolvconf.behind_stub(Path("/etc/resolv.conf"))
    links = {entry.name: os.readlink(entry) for entry in os.scandir(CGROUP_ROOT) if entry.is_symlink()}
    network = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = resolv_conf.read_text() if resolv_conf.exists() else ""
        yield _Machine(cgroups.find(), links, text, network)
    finally:
        os.close(network)


def _mount_run(machine: _Machine, keep: Path) -> None:
    """An empty /run, as after booting, with the host's name servers where /etc/resolv.conf points to.

    Only who joins the host's network reaches those.
    """
    kept = os.open(keep, os.O_PATH | os.O_CLOEXEC)  # from here: what another mount namespace has cannot be bound
    mounts.tmpfs("/run", name="run")
    RUN.mkdir()
    target = Path(os.path.realpath("/etc/resolv.conf"))
    if target.is_relative_to("/run"):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(machine.resolv_conf)
    HOST_NETWORK.parent.mkdir()
    HOST_NETWORK.touch()
    mounts.bind(f"/proc/self/fd/{machine.network}", HOST_NETWORK)
    if keep.resolve().is_relative_to("/run"):
        keep.mkdir(parents=True)
        mounts.bind(f"/proc/self/fd/{kept}", keep)
    os.close(kept)


def _mount_groups(machine: _Machine) -> None:
    if machine.groups.version == 2:
        mounts.mount("cgroup2", CGROUP_ROOT, "cgroup2", _SAFE)
        _delegate()
        return
    mounts.tmpfs(CGROUP_ROOT, name="cgroup")
    by_target: dict[Path, list[str]] = {}
    for controller, target in machine.groups.by_controller.items():
        by_target.setdefault(target, []).append(controller)
    for target, controllers in by_target.items():
        place = CGROUP_ROOT / target.name
        place.mkdir()
        named = [f"none,{name}" if "=" in name else name for name in controllers]
        mounts.mount("cgroup", place, "cgroup", _SAFE, ",".join(named))
    for name, link in machine.links.items():
        (CGROUP_ROOT / name).symlink_to(link)


def _delegate() -> None:
    """Version 2 allows processes only in leaves, so the components get one before controllers are passed on."""
    leaf = CGROUP_ROOT / COMPONENTS_GROUP
    leaf.mkdir()
    (leaf / "cgroup.procs").write_text("0")
    available = (CGROUP_ROOT / "cgroup.controllers").read_text().split()
    (CGROUP_ROOT / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in available))
