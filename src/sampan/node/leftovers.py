"""Garbage collection of what a pod can have on its node, found by the pod's uid alone.

A worker that ends its pod calls `remove` last (`pod_resources.py`). What could not be removed then, or was left by an
agent that was killed, is found later: `of_unknown_pods` lists it, `clear` removes it, `sweep` does so again and again.
"""

import asyncio
import logging
import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from sampan.kernel import cgroups, mounts
from sampan.kernel.threads import in_thread
from sampan.node import checkpoints
from sampan.node.node import Node

log = logging.getLogger(__name__)

SWEEP_SECONDS = 10.0


def of_unknown_pods(node: Node, known: Collection[str]) -> set[str]:
    """The uids of pods that have something here and are not among those known."""
    found = {
        *checkpoints.uids(node.options.pods),
        *node.network.pods(),
        *(state.pod_uid for state in node.runtime.list()),
        *(directory.name.rpartition("_")[2] for directory in _log_directories(node)),
        *cgroups.children(node.options.cgroup_parent),
    }
    return found - set(known)


async def sweep(node: Node, known: Callable[[], Collection[str]]) -> None:
    """Now and then, until cancelled, remove what pods other than those known have left: whatever went wrong when they
    ended is tried again until nothing is there.
    """
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        try:
            for uid in of_unknown_pods(node, known()):
                log.warning("pod %s: something is left of it; trying again", uid)
                await clear(node, uid)
        except Exception:
            log.exception("removing what pods left")


async def clear(node: Node, uid: str) -> None:
    """Remove the containers of a pod and all else."""
    for state in node.runtime.list():
        if state.pod_uid == uid:
            try:
                await node.runtime.delete(state.id)
            except Exception as error:
                log.warning("pod %s: removing container %s: %s", uid, state.id, error)
    await remove(node, uid)


async def remove(node: Node, uid: str) -> None:
    """Remove all that is left once the containers are gone; each step is tried whatever happened to the others."""
    directory = node.options.pods / uid
    steps = (
        node.network.remove(uid),
        in_thread(_unmount, directory),
        in_thread(cgroups.remove, f"{node.options.cgroup_parent}/{uid}"),
    )
    outcomes = await asyncio.gather(*steps, return_exceptions=True)
    for error in outcomes:
        if isinstance(error, Exception):
            log.warning("pod %s: removing what is left: %s", uid, error)
    if not isinstance(outcomes[1], BaseException):  # never delete through a mount
        await in_thread(_delete, [*_log_directories(node, uid), directory])


def _unmount(directory: Path) -> None:
    errors = mounts.unmount_below(directory)
    if errors:
        raise errors[0]


def _delete(directories: list[Path]) -> None:
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


def _log_directories(node: Node, uid: str = "*") -> Iterator[Path]:
    return node.options.logs.glob(f"*_*_{uid}")
