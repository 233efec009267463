"""`sampan dns query NAME`: every step of a resolver's search path, what was asked, what was answered, and why.

The steps are gone where the asker is: in a pod's own network and with its resolv.conf (`--from`), or in a node's. To be
there, the command runs itself again inside, with `--here`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sampan.cli.clusters import add_name, configuration, running
from sampan.cli.errors import CommandError
from sampan.cluster.paths import ClusterPaths
from sampan.machinery.objects import Object

if TYPE_CHECKING:
    from sampan.client.rest import Client
    from sampan.cluster.config import ClusterConfig
    from sampan.dns.cluster import Cluster, Key

_AGAIN = "import sys; from sampan.cli.main import main; sys.exit(main())"


def arguments(parser: argparse.ArgumentParser) -> None:
    add_name(parser)
    parser.add_argument(
        "query", metavar="NAME", help="as a program would give it: short, full with a last dot, or an address"
    )
    parser.add_argument("--from", dest="pod", metavar="[NAMESPACE/]POD", help="as this pod (default: as a new one)")
    parser.add_argument("--namespace", "-n", default="default", help="of that pod (default: default)")
    parser.add_argument("--type", default=None, help="the type of records (default: A; of an address PTR)")
    parser.add_argument(
        "--here", metavar="RESOLV-CONF", type=Path, help="where this command runs, with this resolv.conf"
    )


def run(options: argparse.Namespace) -> int:
    from sampan.dns import walk

    name = options.query
    if options.type in (None, "PTR") and (back := walk.reverse(name)):
        name, options.type = back, "PTR"
    try:
        walk.check(name)
    except ValueError as error:
        raise CommandError(str(error)) from error
    kind = _type(options.type or "A")
    if options.here is not None:
        try:
            text = options.here.read_text(errors="replace")
        except OSError as error:
            raise CommandError(f"{options.here}: {error.strerror}") from error
        return asyncio.run(_go(name, kind, text))
    return _inside(options, name, kind)


def _type(name: str) -> int:
    from sampan.dns.wire import TYPE_NAMES

    for number, known in TYPE_NAMES.items():
        if known == name.upper():
            return number
    raise CommandError(f"unknown type {name!r}; there are {', '.join(TYPE_NAMES.values())}")


async def _go(name: str, kind: int, resolv_conf: str) -> int:
    """Ask, and print each step. The exit status is 0 if something was found."""
    from sampan.dns import query, walk

    resolver = walk.parse(resolv_conf)
    print(f"resolver: {', '.join(resolver.servers)}; search {' '.join(resolver.searches) or 'nothing'}; "
          f"ndots:{resolver.ndots}")  # fmt: skip
    found = False
    try:
        async for answered in query.ask(name, kind, resolver):
            print("\n".join(query.lines(answered, kind)))
            found = walk.verdict(answered.reply, kind)[0]
    except OSError as error:
        raise CommandError(str(error)) from error
    return 0 if found else 1


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the asker is: on which node, how to enter its network from there, and its resolv.conf."""

    who: str
    namespace: str
    node: str
    resolv_conf: Path
    enter: tuple[str, ...] = ()


def _inside(options: argparse.Namespace, name: str, kind: int) -> int:
    from sampan.cluster import control, inside

    cluster = running(options.name)
    config = configuration(cluster)
    place = _of_pod(cluster, options) if options.pod else _of_new_pod(cluster, config, options.namespace)
    print(f"as {place.who}", flush=True)
    again = [sys.executable, "-c", _AGAIN, "dns", "query", options.query, "--here", str(place.resolv_conf)]
    again += ["--type", options.type] if options.type else []
    try:
        status = control.ask(cluster.control, control.Status(), control.ClusterStatus)
        ended = inside.run(status.box_pid, [*place.enter, *again], node=place.node, environment=dict(os.environ))
    except control.ControlError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"cannot enter the cluster: {error}") from error
    if ended == 1:
        asyncio.run(_explain(cluster, config, place, name, kind))
    return ended


def _of_new_pod(cluster: ClusterPaths, config: ClusterConfig, namespace: str) -> _Place:
    domain = config.network.domain
    servers = "".join(f"nameserver {server}\n" for server in config.dns_servers)
    file = cluster.run / "query-resolv.conf"
    file.write_text(f"search {namespace}.svc.{domain} svc.{domain} {domain}\n{servers}options ndots:5\n")
    return _Place(f"a new pod of namespace {namespace}", namespace, config.node_list[0].name, file)


def _of_pod(cluster: ClusterPaths, options: argparse.Namespace) -> _Place:
    """Raises CommandError if there is no such pod, or it does not run."""
    from sampan.cluster import view

    namespace, _, name = options.pod.rpartition("/")
    namespace = namespace or options.namespace
    pod = asyncio.run(_pod(cluster, namespace, name))
    node, uid = pod["spec"].get("nodeName", ""), pod["metadata"]["uid"]
    resolv_conf = cluster.node(node) / "pods" / uid / "etc" / "resolv.conf"
    phase = pod.get("status", {}).get("phase", "")
    if not node:
        raise CommandError(f"pod {namespace}/{name} is on no node yet")
    if phase in ("Succeeded", "Failed") or not resolv_conf.exists():
        raise CommandError(f"pod {namespace}/{name} does not run: it {'has ended' if phase != 'Pending' else 'waits'}")
    who = f"pod {namespace}/{name} on {node}, dnsPolicy {pod['spec'].get('dnsPolicy', 'ClusterFirst')}"
    if pod["spec"].get("hostNetwork"):
        return _Place(f"{who}, hostNetwork", namespace, node, resolv_conf)
    network = view.RUN / "nodes" / node / "network" / "sandboxes" / uid / "net"
    return _Place(who, namespace, node, resolv_conf, ("nsenter", f"--net={network}"))


async def _pod(cluster: ClusterPaths, namespace: str, name: str) -> Object:
    from sampan.client import resources
    from sampan.machinery.errors import NotFound, StatusError

    async with _client(cluster) as client:
        try:
            return await client.get(resources.PODS, name, namespace)
        except NotFound as error:
            known = [pod["metadata"] for pod in (await client.list(resources.PODS)).items]
            others = [f"{one['namespace']}/{one['name']}" for one in known]
            raise CommandError(f"{error} in namespace {namespace}{_meant(name, namespace, others)}") from error
        except (StatusError, OSError) as error:
            raise CommandError(str(error)) from error


def _meant(name: str, namespace: str, known: list[str]) -> str:
    from difflib import get_close_matches

    here = [one.partition("/")[2] for one in known if one.startswith(f"{namespace}/")]
    near = [one for one in known if one.endswith(f"/{name}")] or get_close_matches(name, here, 3)
    return f"; is it {' or '.join(near)}?" if near else ""


async def _explain(cluster: ClusterPaths, config: ClusterConfig, place: _Place, name: str, kind: int) -> None:
    """Say what may be wrong with the name. Without the API server there is nothing to say."""
    from sampan.dns import hints, walk
    from sampan.machinery.errors import StatusError

    resolver = walk.parse(place.resolv_conf.read_text(errors="replace"))
    asked = hints.Asked(name, kind, resolver, place.namespace, config.network.domain, config.dns_servers)
    try:
        async with _client(cluster) as client:
            known = await _known(client, asked.service)
    except (StatusError, OSError):
        return
    if hint := hints.hint(asked, known):
        print(hint)


async def _known(client: Client, wanted: Key) -> Cluster:
    """The names of the cluster, and the endpoints of one Service. Raises StatusError, OSError."""
    from sampan.client import resources
    from sampan.dns import objects
    from sampan.dns.cluster import Cluster

    known = Cluster()
    for service in (await client.list(resources.SERVICES, type=objects.Service)).items:
        known.set_service(None, service)
    for space in (await client.list(resources.NAMESPACES, type=objects.Namespace)).items:
        known.set_namespace(None, space)
    if wanted in known.services:
        namespace, name = wanted
        its = f"{objects.SERVICE_NAME}={name}"
        slices = await client.list(resources.ENDPOINT_SLICES, namespace, label_selector=its, type=objects.EndpointSlice)
        for one in slices.items:
            known.set_slice(None, one)
    return known


@asynccontextmanager
async def _client(cluster: ClusterPaths) -> AsyncIterator[Client]:
    from sampan.client.config import Config
    from sampan.client.rest import Client

    client = Client(Config.from_kubeconfig(cluster.kubeconfig))
    try:
        yield client
    finally:
        await client.close()
