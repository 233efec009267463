"""`sampan logs`: what a component has written, optionally following it."""

from __future__ import annotations

import argparse
import sys
import time
from collections import deque
from pathlib import Path
from typing import TextIO

from sampan.cli.clusters import add_name, existing
from sampan.cli.errors import CommandError
from sampan.cluster.components import log_file

POLL_SECONDS = 0.2


def arguments(parser: argparse.ArgumentParser) -> None:
    add_name(parser)
    parser.add_argument("component", nargs="?", help="apiserver, controllers, node-1-agent… (none: list them)")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what is written from now on")
    parser.add_argument("--tail", type=int, default=None, metavar="LINES", help="only the last lines")


def run(options: argparse.Namespace) -> int:
    logs = existing(options.name).logs
    known = sorted(path.stem for path in logs.glob("*.log"))
    if options.component is None:
        print("\n".join(known))
        return 0
    if options.component not in known:
        raise CommandError(f"no component {options.component!r}; there are: {', '.join(known)}")
    with log_file(logs, options.component).open(errors="replace") as file:
        _show(file, options.tail)
        if options.follow:
            _follow(file, log_file(logs, options.component))
    return 0


def _show(file: TextIO, tail: int | None) -> None:
    lines = file if tail is None else deque(file, maxlen=max(tail, 0))
    sys.stdout.writelines(lines)
    sys.stdout.flush()


def _follow(file: TextIO, path: Path) -> None:
    """Until interrupted, or until the cluster is removed."""
    while path.exists():
        if text := file.read():
            sys.stdout.write(text)
            sys.stdout.flush()
        else:
            time.sleep(POLL_SECONDS)
