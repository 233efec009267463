"""What a forked component does first: its own log, name and node, then its event loop.

The parent (`init.py`) has imported the component's module already, so all that is left costs milliseconds and shares
the parent's memory.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

from sampan.cluster import lan, view
from sampan.cluster.components import Component, Context, log_file
from sampan.kernel import libc

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_HANDLED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

PODS_UMASK = 0o022
"""The supervisor keeps its files private; what components make may be for pods, and pods inherit this."""

log = logging.getLogger(__name__)


def become(component: Component, context: Context, report: int) -> NoReturn:
    """Turns a fresh child into the component, for good. Lines written to `report` reach the init: see `Report`."""
    status = 1
    try:
        for number in _HANDLED:
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        os.umask(PODS_UMASK)
        redirect(log_file(context.paths.logs, component.name))
        name_process(component.name)
        if component.node:
            _enter_node(component.node)
        _run(component, context, Report(report))
        status = 0
    except KeyboardInterrupt:
        status = 130
    except BaseException:
        log.exception("%s ends", component.name)
    finally:
        logging.shutdown()
        os._exit(status)


class Report:
    """Handed to a component as `ready`: called without a text it means "working", with one it is progress."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __call__(self, text: str = "") -> None:
        os.write(self._descriptor, text.replace("\n", " ").encode() + b"\n")


def redirect(path: Path) -> None:
    """Sends output and log records to a file, and takes input from nowhere."""
    output = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    sys.stdout.flush()
    sys.stderr.flush()
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(output)
    sys.stdout, sys.stderr = (os.fdopen(target, "w", buffering=1, closefd=False) for target in (1, 2))
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, stream=sys.stderr, force=True)


def name_process(name: str) -> None:
    """What `ps` and `top` show; the kernel keeps 15 characters."""
    Path("/proc/self/comm").write_text(f"sampan:{name}"[:15])


def _enter_node(node: str) -> None:
    descriptor = os.open(lan.namespace(view.RUN, node), os.O_RDONLY | os.O_CLOEXEC)
    libc.setns(descriptor, libc.CLONE_NEWNET)
    os.close(descriptor)
    libc.unshare(libc.CLONE_NEWUTS)
    libc.sethostname(node)


def _run(component: Component, context: Context, report: Report) -> None:
    module, _, function = component.run.partition(":")
    run = getattr(importlib.import_module(module), function)
    options = component.options(context)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(run(options, report))


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    import uvloop

    return uvloop.Loop
