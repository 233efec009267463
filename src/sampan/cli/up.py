"""`sampan up`: a new cluster."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from sampan.cli.clusters import add_name, flag
from sampan.cli.errors import CommandError
from sampan.cli.waiting import add_timeout, launch_and_wait, reserve
from sampan.cluster import config as configuration
from sampan.cluster import launch, paths, teardown
from sampan.cluster.config import ClusterConfig
from sampan.cluster.paths import ClusterPaths

# flag: (field of the configuration, type, help)
FLAGS: dict[str, tuple[str, type, str]] = {
    "--nodes": ("nodes", int, "how many nodes (default: 3)"),
    "--api-port": ("apiPort", int, "port of the API on 127.0.0.1 (default: the first free one from 6443)"),
    "--kubernetes-version": ("kubernetesVersion", str, "the release whose API is served (default: 1.36)"),
    "--store": ("store", str, "sqlite (default) or memory"),
    "--proxy-mode": ("proxyMode", str, "nftables (default), iptables, ipvs or userspace"),
}


def arguments(parser: argparse.ArgumentParser) -> None:
    add_name(parser)
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file; flags take precedence")
    add_timeout(parser)
    parser.add_argument("--node-local-dns", action="store_true", help="let a DNS server on each node answer its pods")
    parser.add_argument(
        "--ingress", action="store_true", help="serve Ingresses with nginx, in the place of ingress-nginx"
    )
    parser.add_argument("--isolated", action="store_true", default=None, help="no way out to the machine's network")
    parser.add_argument(
        "--allow-host-loopback",
        action="store_true",
        default=None,
        dest="allowHostLoopback",
        help="let the cluster reach what listens on this machine's loopback",
    )
    parser.add_argument(
        "--host-network", action="store_true", help="let this machine itself reach nodes, pods and Services"
    )
    parser.add_argument(
        "--no-load-balancer", "--no-lb", action="store_true", help="give Services of type LoadBalancer no address"
    )
    for name, (field, kind, help) in FLAGS.items():
        parser.add_argument(name, dest=field, type=kind, default=None, help=help)


def run(options: argparse.Namespace) -> int:
    began = time.monotonic()
    config = _configuration(options)
    cluster = ClusterPaths(paths.home(), config.name)
    _check_new(cluster)
    context = reserve(config, cluster)
    config = context.config
    try:
        _write_state(config, cluster)
        launch_and_wait(context, began, options.timeout)
    except BaseException:
        _undo(cluster)
        raise
    _tell(config, cluster, time.monotonic() - began)
    return 0


def _configuration(options: argparse.Namespace) -> ClusterConfig:
    try:
        fields: dict[str, Any] = configuration.read_file(options.config) if options.config else {}
        given = {field: getattr(options, field) for field, _, _ in FLAGS.values()} | {"name": options.name}
        given |= {field: getattr(options, field) for field in ("isolated", "allowHostLoopback")}
        fields |= {field: value for field, value in given.items() if value is not None}
        if options.node_local_dns and isinstance(dns := fields.get("dns", {}), dict):
            fields["dns"] = dns | {"nodeLocal": True}
        if options.ingress:
            fields["ingress"] = True
        if options.host_network:
            fields["hostNetwork"] = True
        if options.no_load_balancer and isinstance(balancer := fields.get("loadBalancer", {}), dict):
            fields["loadBalancer"] = balancer | {"enabled": False}
        return configuration.located(configuration.build(fields, source=str(options.config or "flags")))
    except configuration.ConfigError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"{options.config}: {error.strerror}") from error


def _check_new(cluster: ClusterPaths) -> None:
    if launch.is_running(cluster):
        raise CommandError(f"cluster {cluster.name!r} is running; remove it with: sampan down{flag(cluster)}")
    if cluster.config.exists():
        do = f"resume it with: sampan start{flag(cluster)}, or remove it with: sampan down{flag(cluster)}"
        raise CommandError(f"cluster {cluster.name!r} is stopped; {do}")


def _write_state(config: ClusterConfig, cluster: ClusterPaths) -> None:
    import msgspec

    try:
        cluster.make()
        cluster.config.write_bytes(msgspec.json.encode(config))
    except OSError as error:
        raise CommandError(f"cannot keep state in {cluster.directory}: {error.strerror}") from error


def _undo(cluster: ClusterPaths) -> None:
    if launch.is_running(cluster):
        return
    try:
        teardown.down(cluster)
    except teardown.LeftBehind as left:
        print(f"sampan: still there; try: sampan down{flag(cluster)}\n{left}", file=sys.stderr)


def _tell(config: ClusterConfig, cluster: ClusterPaths, seconds: float) -> None:
    count = len(config.node_list)
    print(f"Cluster {config.name!r} is up after {seconds:.2f} s: {count} node{'s' if count > 1 else ''}.")
    print(f"  kubectl --context {cluster.context} get nodes    (it is the current context)")
    print(f"  sampan shell{flag(cluster)}    a shell where ClusterIPs and DNS names answer")
    print(f"  sampan down{flag(cluster)}     removes it")
    if config.host_network:
        print(f"  This machine reaches nodes, pods and Services itself, as {config.host_ip}.")
