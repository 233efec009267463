"""How a run of a container ended, in the API's words, from what the runtime knows and what the program left."""

import logging
from pathlib import Path

from sampan.api.core_v1 import Container
from sampan.node.logs import reader
from sampan.node.records import Exit
from sampan.node.runtime.types import ContainerState

log = logging.getLogger(__name__)

MAX_MESSAGE = 4096
FALLBACK_LINES = 80
FALLBACK_BYTES = 2048
UNKNOWN_CODE = 137


def exit_of(container: Container, state: ContainerState, termination_log: Path) -> Exit:
    """The end of a stopped container. Blocks shortly."""
    reason = "OOMKilled" if state.oom_killed else "Completed" if state.exit_code == 0 else "Error"
    return Exit(
        code=state.exit_code,
        reason=reason,
        started_at=state.started_at,
        finished_at=state.finished_at,
        container_id=state.id,
        message=_message(container, state, termination_log),
    )


def vanished(container_id: str, started_at: float, now: float) -> Exit:
    """The end of a container that the runtime knows nothing of any more, after the machine was restarted."""
    message = "The container could not be located when the pod was terminated"
    return Exit(UNKNOWN_CODE, "ContainerStatusUnknown", started_at, now, container_id, message=message)


def _message(container: Container, state: ContainerState, termination_log: Path) -> str:
    try:
        with termination_log.open("rb") as file:
            text = file.read(MAX_MESSAGE)
    except OSError:
        text = b""
    if not text and container.termination_message_policy == "FallbackToLogsOnError" and state.exit_code:
        text = reader.tail(state.log_path, FALLBACK_LINES)[-FALLBACK_BYTES:]
    return text.decode(errors="replace")
