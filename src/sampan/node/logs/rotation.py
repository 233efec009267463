"""Keep container logs from filling the disk: a log that grew too large is renamed, and conmon opens a new one."""

import logging
import time
from pathlib import Path

from sampan.node.runtime.runtime import Runtime
from sampan.node.runtime.types import ContainerError, ContainerState

log = logging.getLogger(__name__)

MAX_BYTES = 10 * 1024 * 1024
MAX_FILES = 5
CHECK_SECONDS = 10.0


async def rotate_all(runtime: Runtime) -> None:
    """Look at the log of every running container once."""
    for state in runtime.list():
        if state.status == "running":
            await _rotate(runtime, state)


async def _rotate(runtime: Runtime, state: ContainerState) -> None:
    try:
        if state.log_path.stat().st_size < MAX_BYTES:
            return
        state.log_path.rename(f"{state.log_path}.{time.strftime('%Y%m%d-%H%M%S')}")
        await runtime.reopen_log(state.id)
        for old in sorted(rotated(state.log_path))[: 1 - MAX_FILES]:
            old.unlink(missing_ok=True)
    except FileNotFoundError:
        return
    except (OSError, ContainerError) as error:
        log.warning("rotating the log of container %s: %s", state.id, error)


def rotated(path: Path) -> list[Path]:
    """The older files of a log."""
    return list(path.parent.glob(f"{path.name}.*"))
