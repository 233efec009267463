"""`sampan dns query NAME`: every step of a resolver's search path, what was asked, what was answered, and why.

The steps are gone where the asker is: in a pod's own network and with its resolv.conf (`--from`), or in a node's. To be
there, the command runs itself again inside, with `--here`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

from sampan.cli.clusters import add_name, configuration, running
from sampan.cli.errors import CommandError
from sampan.cluster.paths import ClusterPaths
from sampan.machinery.objects import Object

_AGAIN = "import sys; from sampan.cli.main import main; sys.exit(main())"


def arguments(parser: argparse.ArgumentParser) -> None:
    add_name(parser)
    parser.add_argument("query", metavar="NAME", help="as a program would give it: short, or full with a last dot")
    parser.add_argument("--from", dest="pod", metavar="[NAMESPACE/]POD", help="as this pod (default: as a new one)")
    parser.add_argument("--namespace", "-n", default="default", help="of that pod (default: default)")
    parser.add_argument("--type", default="A", help="the type of records (default: A)")
    parser.add_argument(
        "--here", metavar="RESOLV-CONF", type=Path, help="where this command runs, with this resolv.conf"
    )


def run(options: argparse.Namespace) -> int:
    if options.here is not None:
        try:
            text = options.here.read_text(errors="replace")
        except OSError as error:
            raise CommandError(f"{options.here}: {error.strerror}") from error
        return asyncio.run(_go(options.query, _type(options.type), text))
    _type(options.type)
    return _inside(options)


def _type(name: str) -> int:
    from sampan.dns.wire import TYPE_NAMES

    for number, known in TYPE_NAMES.items():
        if known == name.upper():
            return number
    raise CommandError(f"unknown type {name!r}; there are {', '.join(TYPE_NAMES.values())}")


async def _go(name: str, kind: int, resolv_conf: str) -> int:
    """Ask, and print each step. The exit status is 0 if something was found."""
    from sampan.dns import query, walk

    try:
        resolver = walk.parse(resolv_conf)
        print(f"resolver: {', '.join(resolver.servers)}; search {' '.join(resolver.searches) or 'nothing'}; "
              f"ndots:{resolver.ndots}")  # fmt: skip
        found = False
        async for answered in query.ask(name, kind, resolver):
            print("\n".join(query.lines(answered, kind)))
            found = walk.verdict(answered.reply, kind)[0]
    except (OSError, ValueError) as error:
        raise CommandError(str(error)) from error
    return 0 if found else 1


def _inside(options: argparse.Namespace) -> int:
    from sampan.cluster import control, inside

    cluster = running(options.name)
    config = configuration(cluster)
    if options.pod:
        namespace, _, pod = options.pod.rpartition("/")
        node, enter, resolv_conf = _place_of(cluster, namespace or options.namespace, pod)
    else:
        node, enter = config.node_list[0].name, []
        resolv_conf = cluster.run / "query-resolv.conf"
        domain = config.network.domain
        searches = f"{options.namespace}.svc.{domain} svc.{domain} {domain}"
        resolv_conf.write_text(f"search {searches}\nnameserver {config.dns_ip}\noptions ndots:5\n")
    again = [sys.executable, "-c", _AGAIN, "dns", "query", options.query, "--type", options.type]
    try:
        status = control.ask(cluster.control, control.Status(), control.ClusterStatus)
        command = [*enter, *again, "--here", str(resolv_conf)]
        return inside.run(status.box_pid, command, node=node, environment=dict(os.environ))
    except control.ControlError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"cannot enter the cluster: {error}") from error


def _place_of(cluster: ClusterPaths, namespace: str, name: str) -> tuple[str, list[str], Path]:
    """A pod's node, how to enter its network from there, and its resolv.conf. Raises CommandError."""
    from sampan.cluster import view

    pod = asyncio.run(_pod(cluster, namespace, name))
    node, uid = pod["spec"].get("nodeName", ""), pod["metadata"]["uid"]
    resolv_conf = cluster.node(node) / "pods" / uid / "etc" / "resolv.conf"
    if not node or not resolv_conf.exists():
        raise CommandError(f"pod {namespace}/{name} does not run")
    if pod["spec"].get("hostNetwork"):
        return node, [], resolv_conf
    network = view.RUN / "nodes" / node / "network" / "sandboxes" / uid / "net"
    return node, ["nsenter", f"--net={network}"], resolv_conf


async def _pod(cluster: ClusterPaths, namespace: str, name: str) -> Object:
    from sampan.client import resources
    from sampan.client.config import Config
    from sampan.client.rest import Client
    from sampan.machinery.errors import StatusError

    client = Client(Config.from_kubeconfig(cluster.kubeconfig))
    try:
        return await client.get(resources.PODS, name, namespace)
    except (StatusError, OSError) as error:
        raise CommandError(str(error)) from error
    finally:
        await client.close()
