"""What `sampan proxy` is told: flags over the configuration file over what the Node says over defaults."""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from sampan.api.core_v1 import Node
from sampan.cli.errors import CommandError
from sampan.client.config import Config
from sampan.client.resources import NODES
from sampan.client.rest import Client
from sampan.machinery.durations import seconds
from sampan.proxy.configchecks import BRIDGE, CLUSTER_CIDR, LOCAL_MODES, NODE_CIDR, PREFIX, PRIMARY
from sampan.proxy.configuration import Configuration, ConfigurationError, parse
from sampan.proxy.conntrack import parameters
from sampan.proxy.options import HEALTHZ_PORT, METRICS_PORT, ModeFile, ProxyOptions

DEFAULT_MODE = "nftables"
BOTH_LOOPBACKS = ("127.0.0.1", "::1")

POD_CIDR_SECONDS = 300.0
POD_CIDR_POLL_SECONDS = 0.5
"""A Node gets its podCIDRs a little after it registers; upstream waits as long."""

OOM_SCORE_ADJ = -999


@dataclass(frozen=True, slots=True)
class Given:
    """Flags and file, before the Node has been asked."""

    flags: argparse.Namespace
    file: Configuration

    @property
    def kubeconfig(self) -> Path | None:
        return Path(self.file.client_connection.kubeconfig) if self.file.client_connection.kubeconfig else None

    @property
    def node_name(self) -> str:
        return str(self.flags.node_name or self.file.hostname_override or socket.gethostname().lower())

    @property
    def mode(self) -> str:
        return str(self.flags.mode or self.file.mode or DEFAULT_MODE)

    @property
    def local_mode(self) -> str:
        """How pods are told from others. Raises CommandError."""
        mode = str(self.flags.detect_local_mode or self.file.detect_local_mode or CLUSTER_CIDR)
        if mode not in LOCAL_MODES:
            raise CommandError(f"--detect-local-mode: {mode!r} is none of {', '.join(LOCAL_MODES)}")
        return mode

    @property
    def pods_interface(self) -> str:
        """By which interface pods' packets come, if that is how they are told. Raises CommandError."""
        names = {
            BRIDGE: (
                "--pod-bridge-interface",
                self.flags.pod_bridge_interface or self.file.detect_local.bridge_interface,
            ),
            PREFIX: (
                "--pod-interface-name-prefix",
                self.flags.pod_interface_name_prefix or self.file.detect_local.interface_name_prefix,
            ),
        }
        if self.local_mode not in names:
            return ""
        flag, name = names[self.local_mode]
        if not name:
            raise CommandError(f"--detect-local-mode={self.local_mode} needs {flag}")
        return f"{name}+" if self.local_mode == PREFIX else str(name)

    @property
    def mode_file(self) -> ModeFile | None:
        """A change of the mode in the file is followed, unless a flag has said which one it is to be."""
        if self.flags.config is None or self.flags.mode:
            return None
        return ModeFile(self.flags.config, read=lambda path: parse(path.read_text())[0].mode or DEFAULT_MODE)

    @property
    def oom_score_adj(self) -> int:
        """How willingly the kernel ends this process for want of memory."""
        return OOM_SCORE_ADJ if self.file.oom_score_adj is None else self.file.oom_score_adj

    def offline(self) -> ProxyOptions:
        """Options for work that concerns no Service, in both families."""
        return ProxyOptions(
            node_name=self.node_name,
            node_ips=BOTH_LOOPBACKS,
            config=Config(server=""),
            ipvs_exclude_cidrs=tuple(self.file.ipvs.exclude_cidrs or ()),
        )


def given(flags: argparse.Namespace) -> Given:
    """Read the file that the flags name, and warn of what it has no use for. Raises CommandError."""
    import logging

    if flags.config is None:
        return Given(flags, Configuration())
    try:
        file, warnings = parse(flags.config.read_text())
    except ConfigurationError as error:
        raise CommandError(f"{flags.config}: {error}") from error
    except OSError as error:
        raise CommandError(f"{flags.config}: {error.strerror}") from error
    for warning in warnings:
        logging.getLogger(__name__).warning("%s: %s", flags.config, warning)
    return Given(flags, file)


async def options_for(wanted: Given, config: Config) -> ProxyOptions:
    """Everything, after asking for the Node. Raises CommandError, StatusError, OSError."""
    flags, file = wanted.flags, wanted.file
    node = await _node(config, wanted)
    node_ips = _node_ips(node, file.bind_address)
    masquerade_all, masquerade_bit = file.masquerade(wanted.mode)
    loopback = BOTH_LOOPBACKS[all(":" in ip for ip in node_ips)]
    healthz = _address(flags.healthz_bind_address or file.healthz_bind_address, ("0.0.0.0", HEALTHZ_PORT))
    metrics = _address(flags.metrics_bind_address or file.metrics_bind_address, (loopback, METRICS_PORT))
    return ProxyOptions(
        node_name=wanted.node_name,
        node_ips=node_ips,
        config=config,
        mode=wanted.mode,
        mode_file=wanted.mode_file,
        cluster_cidr=_cluster_cidr(wanted, node),
        pods_interface=wanted.pods_interface,
        node_port_addresses=_node_port_addresses(wanted, node_ips),
        masquerade_all=flags.masquerade_all or masquerade_all,
        masquerade_bit=masquerade_bit,
        localhost_node_ports=file.iptables.localhost_node_ports is not False,
        conntrack=parameters(file.conntrack, os.cpu_count() or 1),
        ipvs_scheduler=file.ipvs.scheduler or "rr",
        ipvs_exclude_cidrs=tuple(file.ipvs.exclude_cidrs or ()),
        ipvs_strict_arp=file.ipvs.strict_arp,
        ipvs_timeouts=_ipvs_timeouts(file),
        healthz_address=healthz[0],
        healthz_port=healthz[1],
        metrics_address=metrics[0],
        metrics_port=metrics[1],
        must_listen=file.bind_address_hard_fail,
        sync_period=file.sync_period(wanted.mode),
    )


async def _node(config: Config, wanted: Given) -> Node:
    """This proxy's Node; where its podCIDRs are needed, as soon as it has some."""
    client = Client(config)
    deadline = time.monotonic() + POD_CIDR_SECONDS
    try:
        while True:
            node = await client.get(NODES, wanted.node_name, None, Node)
            if wanted.local_mode != NODE_CIDR or node.spec.pod_cidrs:
                return node
            if time.monotonic() > deadline:
                raise CommandError(f"node {wanted.node_name} has no podCIDRs, which detectLocalMode NodeCIDR needs")
            await asyncio.sleep(POD_CIDR_POLL_SECONDS)
    finally:
        await client.close()


def _node_ips(node: Node, bind_address: str) -> tuple[str, ...]:
    if bind_address not in ("", "0.0.0.0", "::"):
        return (bind_address,)
    found = tuple(each.address for each in node.status.addresses if each.type == "InternalIP")
    if not found:
        raise CommandError(f"node {node.metadata.name} has no InternalIP; give bindAddress in a file with --config")
    return found


def _cluster_cidr(wanted: Given, node: Node) -> str:
    """The pods' networks; without any, nothing tells pods from outsiders, and nobody is masqueraded."""
    if wanted.local_mode == NODE_CIDR:
        return ",".join(node.spec.pod_cidrs)
    return str(wanted.flags.cluster_cidr or wanted.file.cluster_cidr)


def _node_port_addresses(wanted: Given, node_ips: tuple[str, ...]) -> tuple[str, ...]:
    """CIDRs. Nothing means the mode's default: every local address for iptables, the node's own for the others."""
    flag = wanted.flags.nodeport_addresses
    addresses = [each.strip() for each in (flag.split(",") if flag else wanted.file.node_port_addresses or [])]
    if addresses == [PRIMARY]:
        return tuple(f"{ip}/{128 if ':' in ip else 32}" for ip in node_ips) if wanted.mode == "iptables" else ()
    return tuple(each for each in addresses if each)


def _ipvs_timeouts(file: Configuration) -> tuple[int, int, int]:
    tcp, fin, udp = file.ipvs.tcp_timeout, file.ipvs.tcp_fin_timeout, file.ipvs.udp_timeout
    return round(seconds(tcp or "0")), round(seconds(fin or "0")), round(seconds(udp or "0"))


def _address(text: str | None, default: tuple[str, int]) -> tuple[str, int]:
    """HOST:PORT, HOST, :PORT or [HOST]:PORT. Raises CommandError."""
    if not text:
        return default
    host, port = text, ""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if port and not (port.isdigit() and 0 < int(port) < 65536):
        raise CommandError(f"{text!r} is no address to listen at: expected HOST:PORT")
    return host or default[0], int(port) if port else default[1]
