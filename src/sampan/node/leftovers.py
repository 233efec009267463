"""Everything a pod can have on its node, by uid alone, and how to be rid of it.

A worker that ends its pod calls `remove` last (`pod_resources.py`). What an agent left that was killed half-way through
that is found by the next one at its start: `of_unknown_pods` lists it, `clear` removes it.
"""

import asyncio
import logging
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from sampan.kernel import cgroups, mounts
from sampan.node import checkpoints
from sampan.node.node import Node
from sampan.node.runtime.types import ContainerError

log = logging.getLogger(__name__)


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


async def clear(node: Node, uid: str) -> None:
    """Remove the containers of a pod and all else."""
    for state in node.runtime.list():
        if state.pod_uid == uid:
            try:
                await node.runtime.delete(state.id)
            except (ContainerError, OSError) as error:
                log.warning("pod %s: removing container %s: %s", uid, state.id, error)
    await remove(node, uid)


async def remove(node: Node, uid: str) -> None:
    """Remove all that is left once the containers are gone; each step is tried whatever happened to the others."""
    directory = node.options.pods / uid
    steps = (
        node.network.remove(uid),
        asyncio.to_thread(_unmount, directory),
        asyncio.to_thread(cgroups.remove, f"{node.options.cgroup_parent}/{uid}"),
    )
    outcomes = await asyncio.gather(*steps, return_exceptions=True)
    for error in outcomes:
        if isinstance(error, Exception):
            log.warning("pod %s: removing what is left: %s", uid, error)
    if not isinstance(outcomes[1], BaseException):  # never delete through a mount
        await asyncio.to_thread(_delete, [*_log_directories(node, uid), directory])


def _unmount(directory: Path) -> None:
    errors = mounts.unmount_below(directory)
    if errors:
        raise errors[0]


def _delete(directories: list[Path]) -> None:
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


def _log_directories(node: Node, uid: str = "*") -> Iterator[Path]:
    return node.options.logs.glob(f"*_*_{uid}")
