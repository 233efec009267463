"""`sampan dns`: cluster DNS, for this cluster (as pods) or beside any other API server; and ways to look into it."""

from __future__ import annotations

import argparse
import ipaddress
from collections.abc import Awaitable, Callable
from pathlib import Path

from sampan.cli import dns_host, dns_query
from sampan.cli.errors import CommandError
from sampan.cli.serving import client_config, serve

LOG_FORMAT = "[%(levelname)s] %(message)s"
"""As CoreDNS's; the container's log has the time."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(action=_serve)
    parser.add_argument("--conf", type=Path, default=None, metavar="FILE", help="Corefile (default: as kubeadm's)")
    parser.add_argument("--kubeconfig", type=Path, default=None, help="default: the pod's service account")
    parser.add_argument("--context", default=None, help="context of the kubeconfig (default: the current one)")
    parser.add_argument("--domain", default="cluster.local", help="the cluster's domain (default: cluster.local)")
    parser.add_argument("--listen", action="append", metavar="ADDRESS", help="repeatable (default: 0.0.0.0)")
    parser.add_argument("--port", type=int, default=53, help="UDP and TCP (default: 53)")
    parser.add_argument("--resolv-conf", default="/etc/resolv.conf", help="where other names are looked up")
    parser.add_argument(
        "--node-local",
        type=_ipv4,
        metavar="ADDRESS",
        help="be a node's own server: make this address for as long as it runs",
    )
    actions = parser.add_subparsers(title="instead of serving", metavar="ACTION")
    for name, help, arguments, run in (
        ("query", "show how a name is resolved, step by step", dns_query.arguments, dns_query.run),
        ("enable-host", "let this machine resolve the cluster's names", dns_host.arguments, dns_host.enable),
        ("disable-host", "undo enable-host", dns_host.arguments, dns_host.disable),
    ):
        action = actions.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}.")
        arguments(action)
        action.set_defaults(action=run)


def run(options: argparse.Namespace) -> int:
    status: int = options.action(options)
    return status


def _ipv4(text: str) -> str:
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _serve(options: argparse.Namespace) -> int:
    from sampan.client.config import ConfigError
    from sampan.dns import logs
    from sampan.dns.lines import CorefileError
    from sampan.dns.main import DNSOptions
    from sampan.dns.main import run as run_dns

    log = logs.install(LOG_FORMAT)
    dns = DNSOptions(
        connect=lambda: client_config(options.kubeconfig, options.context),
        file=options.conf,
        text=_corefile(options),
        domain=options.domain,
        listen=tuple(options.listen or (options.node_local or "0.0.0.0",)),
        port=options.port,
        lost_lines=lambda: log.lost,
    )
    try:
        return serve(_at_address(options.node_local, options.port, lambda: run_dns(dns)))
    except (CorefileError, ConfigError) as error:
        raise CommandError(str(error)) from error


async def _at_address(address: str | None, port: int, server: Callable[[], Awaitable[None]]) -> None:
    """Run a server, with an address of its own if one is given."""
    if address is None:
        await server()
        return
    from sampan.cluster import nodelocal

    async with nodelocal.address(address, port):
        await server()


def _corefile(options: argparse.Namespace) -> str:
    from sampan.dns import defaults

    if options.node_local:
        return defaults.node_local(options.domain, options.node_local, port=options.port, upstream=options.resolv_conf)
    return defaults.cluster(options.domain, port=options.port, upstream=options.resolv_conf)
