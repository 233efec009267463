"""What most commands have in common: which cluster is meant, and whether it is in the state they need.

DNS pods import this as they start, so it imports a cluster's code only where that is needed.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from sampan.cli.errors import CommandError
from sampan.cluster import paths
from sampan.cluster.paths import DEFAULT_NAME, ClusterPaths

if TYPE_CHECKING:
    from sampan.cluster.config import ClusterConfig


def add_name(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--name", default=None, help=f"the cluster's name (default: {DEFAULT_NAME})")


def named(name: str | None) -> ClusterPaths:
    """The files of a cluster, which need not exist. Raises CommandError if it can be no cluster's name."""
    from sampan.machinery import names

    chosen = DEFAULT_NAME if name is None else name
    if problems := names.dns1123_label(chosen):
        raise CommandError(f"{chosen!r} is no name for a cluster: {problems[0]}")
    return ClusterPaths(paths.home(), chosen)


def existing(name: str | None) -> ClusterPaths:
    """A cluster that has been created. Raises CommandError."""
    cluster = named(name)
    if not cluster.config.exists():
        others = ", ".join(other.name for other in paths.clusters(cluster.root))
        hint = f"; there are: {others}" if others else "; create it with: sampan up"
        raise CommandError(f"there is no cluster {cluster.name!r}{hint}")
    return cluster


def running(name: str | None) -> ClusterPaths:
    """A cluster that runs. Raises CommandError."""
    from sampan.cluster import launch

    cluster = existing(name)
    if not launch.is_running(cluster):
        raise CommandError(f"cluster {cluster.name!r} is stopped; resume it with: sampan start{flag(cluster)}")
    return cluster


def configuration(cluster: ClusterPaths) -> ClusterConfig:
    """As the cluster was created."""
    import msgspec

    from sampan.cluster.config import ClusterConfig

    return msgspec.json.decode(cluster.config.read_bytes(), type=ClusterConfig)


def flag(cluster: ClusterPaths) -> str:
    """What to add to a command for it to mean this cluster."""
    return "" if cluster.name == DEFAULT_NAME else f" --name {cluster.name}"
