"""`sampan explain`: follows a request to a Service step by step and names the first thing that is wrong.

`sampan explain ingress` says what has become of an Ingress (`ingress_look.py`).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
from pathlib import Path

import msgspec

from sampan.api.core_v1 import Pod
from sampan.cli.clusters import add_name, configuration, running
from sampan.cli.errors import CommandError
from sampan.client.config import Config, ConfigError
from sampan.client.rest import Client
from sampan.cluster import lan, view
from sampan.cluster.config import ClusterConfig
from sampan.cluster.paths import ClusterPaths
from sampan.machinery.errors import StatusError
from sampan.proxy.explain.explain import explain
from sampan.proxy.explain.facts import OUTSIDE, ClusterFacts, NodeFacts, PodPlace, Questions
from sampan.proxy.explain.gather import NoSuchClient, gather
from sampan.proxy.explain.report import lines
from sampan.proxy.explain.routing import destinations
from sampan.proxy.explain.selection import selected

SERVICES = ("service", "services", "svc")
INGRESSES = ("ingress", "ingresses", "ing")
COLLECT = "from sampan.proxy.explain.collect import main; main()"
COLLECT_SECONDS = 60


def arguments(parser: argparse.ArgumentParser) -> None:
    add_name(parser)
    parser.add_argument("kind", choices=[*SERVICES, *INGRESSES], metavar="service|ingress", help="what to explain")
    parser.add_argument("service", metavar="NAME", help="its name")
    parser.add_argument("-n", "--namespace", default="default", help="default: default")
    parser.add_argument("--from", dest="asked_by", default="", metavar="POD|NODE|outside", help="default: first node")
    parser.add_argument("--via", default="", metavar="NODE", help="through which node packets from outside come")
    parser.add_argument("--kubeconfig", type=Path, default=None, help="another cluster: then without a look at kernels")


def run(options: argparse.Namespace) -> int:
    """Exit status 1 if something is wrong."""
    if options.kind in INGRESSES:
        from sampan.cli import ingress_look

        return ingress_look.explain(options)
    if options.kubeconfig is not None:
        facts = _facts(options, options.kubeconfig, None, "")
        explanation = explain(facts, None)
    else:
        cluster = running(options.name)
        config = configuration(cluster)
        facts = _facts(options, cluster.kubeconfig, None, config.gateway)
        explanation = explain(facts, _node_facts(facts, cluster, config) if facts.service else None)
    print("\n".join(lines(explanation)))
    return 1 if explanation.first_wrong else 0


def _facts(options: argparse.Namespace, kubeconfig: Path, context: str | None, outside_ip: str) -> ClusterFacts:
    async def ask() -> ClusterFacts:
        client = Client(Config.from_kubeconfig(kubeconfig, context))
        try:
            return await gather(client, options.namespace, options.service, options.asked_by)
        finally:
            await client.close()

    try:
        facts = asyncio.run(ask())
    except (StatusError, NoSuchClient, ConfigError) as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"cannot ask the API server: {error}") from error
    return _through(facts, options.via, outside_ip)


def _through(facts: ClusterFacts, via: str, outside_ip: str) -> ClusterFacts:
    """An outsider has an address, and comes through the node that was given."""
    if facts.client.kind != OUTSIDE:
        if via:
            raise CommandError("--via says how packets from outside come: give --from outside, too")
        return facts
    if via and facts.node(via) is None:
        raise CommandError(f"no node {via!r}; there are: {', '.join(node.metadata.name for node in facts.nodes)}")
    client = msgspec.structs.replace(
        facts.client, node=via or facts.client.node, ips=(outside_ip,) if outside_ip else ()
    )
    return msgspec.structs.replace(facts, client=client)


def _node_facts(facts: ClusterFacts, cluster: ClusterPaths, config: ClusterConfig) -> NodeFacts:
    """What the client's node says, asked by a process that is there."""
    questions = _questions(facts, config)
    command = [sys.executable, "-m", "sampan", "shell", "--name", cluster.name, "--node", facts.client.node, "--"]
    try:
        done = subprocess.run(
            [*command, sys.executable, "-c", COLLECT],
            input=msgspec.json.encode(questions), capture_output=True, timeout=COLLECT_SECONDS, check=False,
            env=os.environ,
        )  # fmt: skip
        return msgspec.json.decode(done.stdout, type=NodeFacts)
    except (subprocess.TimeoutExpired, msgspec.DecodeError) as error:
        raise CommandError(f"cannot look into node {facts.client.node}: {error}") from error


def _questions(facts: ClusterFacts, config: ClusterConfig) -> Questions:
    service = facts.service
    name = f"{facts.name}.{facts.namespace}.svc.{config.network.domain}"
    return Questions(
        node=facts.client.node,
        destinations=tuple(destinations(service, facts)) if service else (),
        from_outside=facts.client.kind == OUTSIDE,
        pods=tuple(PodPlace(key=pod.metadata.key, network=_network(pod)) for pod in selected(facts)
                   if pod.spec.node_name),
        dns_server=config.dns_ip if facts.client.kind != OUTSIDE else "",
        dns_name=name,
    )  # fmt: skip


def _network(pod: Pod) -> str:
    """Where the pod's network namespace is, as seen in the box."""
    node = pod.spec.node_name
    if pod.spec.host_network:
        return str(lan.namespace(view.RUN, node))
    return str(view.RUN / "nodes" / node / "network" / "sandboxes" / pod.metadata.uid / "net")
