"""Requests for container logs: parameters as pods/log has them, an answer streamed while it is read."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from sampan.http.messages import Query, Response
from sampan.http.server import Request
from sampan.node.logs import follow
from sampan.node.logs.reader import LogOptions
from sampan.node.node import Node
from sampan.node.records import Record
from sampan.node.worker import PodWorker


class NoLog(Exception):
    """There is no log to give; the message says why."""


async def serve(request: Request, node: Node, worker: PodWorker, container: str, record: Record) -> Response | None:
    """Stream the log. Raises NoLog."""
    try:
        options = options_of(request.query, datetime.now(UTC))
    except ValueError as error:
        raise NoLog(f"invalid log options: {error}") from error
    path = _path(request.query, worker, container, record)

    def running() -> bool:
        state = node.runtime.state(record.container_id)
        return state is not None and state.status != "stopped"

    following = request.query.flag("follow") and not request.query.flag("previous")
    stream = await request.stream(200, {"Content-Type": "text/plain"})
    async for text in follow.read(path, options, running if following else None):
        await stream.write(text)
    await stream.close()
    return None


def options_of(query: Query, now: datetime) -> LogOptions:
    """Read the parameters. Raises ValueError."""
    since = query.get("sinceTime")
    if query.has("sinceSeconds"):
        since = (now - timedelta(seconds=int(query.get("sinceSeconds")))).isoformat()
    return LogOptions(
        tail_lines=_count(query, "tailLines"),
        since=since,
        timestamps=query.flag("timestamps"),
        limit_bytes=_count(query, "limitBytes"),
        stream=query.get("stream") or "All",
    )


def _count(query: Query, name: str) -> int | None:
    if not query.get(name):
        return None
    number = int(query.get(name))
    if number < 0:
        raise ValueError(f"{name} must not be negative")
    return number


def _path(query: Query, worker: PodWorker, container: str, record: Record) -> Path:
    pod = worker.pod.metadata.name
    attempt = record.restart_count
    if query.flag("previous"):
        if record.waiting is None or record.exit is None:
            attempt -= 1
        if attempt < 0:
            raise NoLog(f'previous terminated container "{container}" in pod "{pod}" not found')
    elif not record.container_id:
        reason = record.waiting.reason if record.waiting else "ContainerCreating"
        raise NoLog(f'container "{container}" in pod "{pod}" is waiting to start: {reason}')
    path = worker.containers.log_path(worker.pod, container, attempt)
    if not path.exists():
        raise NoLog(f'failed to try resolving symlinks in path "{path}": no such file or directory')
    return path
