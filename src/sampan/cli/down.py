"""`sampan down`: the cluster and all it has put anywhere go."""

from __future__ import annotations

import argparse

from sampan.cli.clusters import add_name, named
from sampan.cli.errors import CommandError
from sampan.cluster import paths, teardown


def arguments(parser: argparse.ArgumentParser) -> None:
    chosen = parser.add_mutually_exclusive_group()
    add_name(chosen)
    chosen.add_argument("--all", action="store_true", help="remove every cluster")


def run(options: argparse.Namespace) -> int:
    clusters = paths.clusters(paths.home()) if options.all else [named(options.name)]
    problems = []
    for cluster in clusters:
        if not cluster.directory.exists():
            raise CommandError(f"there is no cluster {cluster.name!r}")
        try:
            teardown.down(cluster)
            print(f"Cluster {cluster.name!r} is gone; nothing of it is left.")
        except teardown.LeftBehind as left:
            problems += [f"cluster {cluster.name!r}: still there: {line}" for line in str(left).splitlines()]
    if problems:
        raise CommandError("\n".join(problems))
    return 0
