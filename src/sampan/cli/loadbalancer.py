"""`sampan loadbalancer`: addresses for Services of type LoadBalancer on a real LAN, for any API server."""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
from pathlib import Path
from typing import Any

from sampan.cli.errors import CommandError
from sampan.cli.serving import client_config, serve
from sampan.client.config import Config
from sampan.loadbalancer.objects import DEFAULT_CLASS
from sampan.loadbalancer.pools import Pool, PoolError, read_pools
from sampan.machinery.errors import StatusError

CONTROLLER, SPEAKER, BOTH = "controller", "speaker", "both"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kubeconfig", type=Path, default=None, help="default: the pod's service account")
    parser.add_argument("--context", default=None, help="context of the kubeconfig (default: the current one)")
    pools = parser.add_mutually_exclusive_group(required=True)
    pools.add_argument("--pools", type=Path, metavar="FILE", help="YAML: a list of pools, or an object with one")
    pools.add_argument(
        "--addresses", action="append", metavar="RANGE", help="one pool: a CIDR or FIRST-LAST; repeatable"
    )
    parser.add_argument("--role", choices=[BOTH, CONTROLLER, SPEAKER], default=BOTH, help="default: %(default)s")
    parser.add_argument("--key-file", type=Path, metavar="FILE", help="the secret that all speakers share")
    parser.add_argument("--node-name", default=socket.gethostname(), help="this node's name (default: this host's)")
    parser.add_argument("--interface", default="", help="where to answer (default: that of the node's address)")
    parser.add_argument(
        "--load-balancer-class", "--lb-class", default=DEFAULT_CLASS, metavar="CLASS", help="default: %(default)s"
    )
    parser.add_argument(
        "--node-health-url",
        default="http://127.0.0.1:10248/healthz",
        metavar="URL",
        help="tells whether the node's agent lives (default: kubelet's health port); empty: it is not asked",
    )


def run(options: argparse.Namespace) -> int:
    pools = _pools(options)
    config = client_config(options.kubeconfig, options.context)
    parts: list[Any] = []
    if options.role in (BOTH, CONTROLLER):
        parts.append(lambda: _controller(options, config, pools))
    if options.role in (BOTH, SPEAKER):
        key = _key(options.key_file)
        parts.append(lambda: _speaker(options, config, pools, key))

    async def work() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for part in parts:
                    group.create_task(part())
        except* (OSError, StatusError) as errors:
            raise CommandError(str(errors.exceptions[0])) from None

    return serve(work())


async def _controller(options: argparse.Namespace, config: Config, pools: tuple[Pool, ...]) -> None:
    from sampan.loadbalancer.controller import ControllerOptions, run

    await run(ControllerOptions(config=config, pools=pools, class_name=options.load_balancer_class, leader_elect=True))


async def _speaker(options: argparse.Namespace, config: Config, pools: tuple[Pool, ...], key: bytes) -> None:
    from sampan.loadbalancer.speaker import SpeakerOptions, run

    await run(
        SpeakerOptions(
            node_name=options.node_name,
            interface=options.interface,
            config=config,
            key=key,
            pools=pools,
            class_name=options.load_balancer_class,
            health_url=options.node_health_url,
        )
    )


def _pools(options: argparse.Namespace) -> tuple[Pool, ...]:
    import yaml

    if options.addresses:
        document: Any = [{"name": "default", "addresses": options.addresses}]
    else:
        try:
            document = yaml.safe_load(options.pools.read_text())
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise CommandError(f"{options.pools}: not YAML: {error}") from error
        except OSError as error:
            raise CommandError(f"{options.pools}: {error.strerror}") from error
    try:
        return read_pools(document)
    except PoolError as error:
        raise CommandError(str(error)) from error


def _key(path: Path | None) -> bytes:
    if os.geteuid() != 0:
        raise CommandError("a speaker opens packet sockets; run it with sudo, or --role controller")
    if path is None:
        raise CommandError("speakers trust each other by a secret of all nodes: give --key-file, or --role controller")
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error
    if len(key) < 16:
        raise CommandError(f"{path}: the secret has {len(key)} bytes; give it 16 or more")
    return key
