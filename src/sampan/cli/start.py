"""`sampan start`: a stopped cluster goes on with its state, under the address it had."""

from __future__ import annotations

import argparse
import time

from sampan.cli.clusters import add_name, configuration, existing
from sampan.cli.errors import CommandError
from sampan.cli.waiting import add_timeout, launch_and_wait, reserve
from sampan.cluster import launch


def arguments(parser: argparse.ArgumentParser) -> None:
    add_name(parser)
    add_timeout(parser)


def run(options: argparse.Namespace) -> int:
    began = time.monotonic()
    cluster = existing(options.name)
    if launch.is_running(cluster):
        raise CommandError(f"cluster {cluster.name!r} is running")
    cluster.make()
    launch_and_wait(reserve(configuration(cluster), cluster), began, options.timeout)
    print(f"Cluster {cluster.name!r} is up again after {time.monotonic() - began:.2f} s.")
    return 0
