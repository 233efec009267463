"""Lifecycle hooks: what a container wants done right after its start and before its end."""

import asyncio

from sampan.api.core_v1 import Container, LifecycleHandler
from sampan.node import probe_actions
from sampan.node.runtime.runtime import Runtime
from sampan.node.runtime.types import ContainerError


class HookFailed(Exception):
    """A hook did not succeed; the message says how."""


async def run(runtime: Runtime, container: Container, container_id: str, pod_ip: str, hook: LifecycleHandler) -> None:
    """Run one hook to its end. The caller limits its time by cancelling. Raises HookFailed."""
    if hook.exec:
        await _run_command(runtime, container_id, hook.exec.command)
    elif hook.http_get:
        outcome = await probe_actions.http_get(hook.http_get, container, pod_ip, timeout=None)
        if not outcome.success:
            raise HookFailed(outcome.output)
    elif hook.tcp_socket:
        outcome = await probe_actions.tcp_socket(hook.tcp_socket, container, pod_ip, timeout=None)
        if not outcome.success:
            raise HookFailed(outcome.output)
    elif hook.sleep:
        await asyncio.sleep(hook.sleep.seconds)


async def _run_command(runtime: Runtime, container_id: str, command: tuple[str, ...]) -> None:
    try:
        result = await runtime.exec(container_id, command)
    except ContainerError as error:
        raise HookFailed(str(error)) from error
    if result.exit_code:
        output = (result.stdout + result.stderr).decode(errors="replace")
        words = " ".join(command)
        raise HookFailed(f"Exec lifecycle hook ([{words}]) exited with {result.exit_code}: {output!r}")
