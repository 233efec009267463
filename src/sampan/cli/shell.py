"""`sampan shell`: a shell, or one command, where the cluster's addresses and names answer."""

from __future__ import annotations

import argparse
import os

from sampan.cli.clusters import add_name, configuration, running
from sampan.cli.errors import CommandError
from sampan.cluster import control, inside, view


def arguments(parser: argparse.ArgumentParser) -> None:
    add_name(parser)
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--node", default=None, help="the node whose network to be in (default: the first)")
    place.add_argument("--lan", action="store_true", help="be on the nodes' network, beside them, as a user outside is")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="[--] COMMAND", help="default: your shell")


def run(options: argparse.Namespace) -> int:
    cluster = running(options.name)
    nodes = [node.name for node in configuration(cluster).node_list]
    node = "" if options.lan else options.node or nodes[0]
    if node and node not in nodes:
        raise CommandError(f"no node {node!r}; there are: {', '.join(nodes)}")
    command = options.arguments[1:] if options.arguments[:1] == ["--"] else options.arguments
    command = command or [os.environ.get("SHELL", "/bin/sh")]
    environment = {**os.environ, "KUBECONFIG": str(view.KUBECONFIG), "SAMPAN_CLUSTER": cluster.name}
    try:
        status = control.ask(cluster.control, control.Status(), control.ClusterStatus)
        return inside.run(status.box_pid, command, node=node, environment=environment)
    except control.ControlError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"cannot enter the cluster: {error}") from error
