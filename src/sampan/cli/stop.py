"""`sampan stop`: the box ends, the state stays."""

from __future__ import annotations

import argparse

from sampan.cli.clusters import add_name, flag, running
from sampan.cli.errors import CommandError
from sampan.cluster import teardown


def arguments(parser: argparse.ArgumentParser) -> None:
    add_name(parser)


def run(options: argparse.Namespace) -> int:
    cluster = running(options.name)
    try:
        teardown.stop(cluster)
    except teardown.LeftBehind as left:
        raise CommandError(f"cluster {cluster.name!r}: still there:\n{left}") from left
    print(f"Cluster {cluster.name!r} is stopped; resume it with: sampan start{flag(cluster)}")
    return 0
