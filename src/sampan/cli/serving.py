"""Running one component in the foreground, as a pod does: logs on standard error, SIGTERM ends it in order."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from sampan.cli.errors import CommandError
from sampan.client.config import Config, ConfigError

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def client_config(kubeconfig: Path | None, context: str | None) -> Config:
    """From a kubeconfig if one is given, else from the pod's service account. Raises CommandError."""
    try:
        return Config.from_kubeconfig(kubeconfig, context) if kubeconfig else Config.in_cluster()
    except ConfigError as error:
        raise CommandError(f"{error}; give --kubeconfig") from error
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}") from error


def serve(component: Coroutine[Any, Any, None]) -> int:
    """Runs until SIGTERM or SIGINT, or until the component fails. Raises CommandError if it could not start."""
    import uvloop

    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    with asyncio.Runner(loop_factory=uvloop.Loop) as runner:
        try:
            runner.run(_until_terminated(component))
        except OSError as error:
            raise CommandError(str(error)) from error
    return 0


async def _until_terminated(component: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(component)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return
