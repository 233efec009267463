"""What `sampan proxy` is told: flags over the configuration file over what the Node says over defaults."""

from __future__ import annotations

import argparse
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from sampan.api.core_v1 import Node
from sampan.cli.errors import CommandError
from sampan.client.config import Config
from sampan.client.resources import NODES
from sampan.client.rest import Client
from sampan.proxy.configuration import Configuration, ConfigurationError, parse, seconds
from sampan.proxy.conntrack import parameters
from sampan.proxy.options import HEALTHZ_PORT, METRICS_PORT, ModeFile, ProxyOptions

DEFAULT_MODE = "nftables"
BOTH_LOOPBACKS = ("127.0.0.1", "::1")


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
    def mode_file(self) -> ModeFile | None:
        """A change of the mode in the file is followed, unless a flag has said which one it is to be."""
        if self.flags.config is None or self.flags.mode:
            return None
        return ModeFile(self.flags.config, read=lambda path: parse(path.read_text())[0].mode or DEFAULT_MODE)

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
    node = await _node(config, wanted.node_name)
    masquerade_all, masquerade_bit = file.masquerade(wanted.mode)
    healthz = _address(flags.healthz_bind_address or file.healthz_bind_address, ("0.0.0.0", HEALTHZ_PORT))
    metrics = _address(flags.metrics_bind_address or file.metrics_bind_address, ("127.0.0.1", METRICS_PORT))
    return ProxyOptions(
        node_name=wanted.node_name,
        node_ips=_node_ips(node, file.bind_address),
        config=config,
        mode=wanted.mode,
        mode_file=wanted.mode_file,
        cluster_cidr=_cluster_cidr(wanted, node),
        node_port_addresses=_node_port_addresses(wanted),
        masquerade_all=flags.masquerade_all or masquerade_all,
        masquerade_bit=masquerade_bit,
        conntrack=parameters(file.conntrack, os.cpu_count() or 1),
        ipvs_scheduler=file.ipvs.scheduler or "rr",
        ipvs_exclude_cidrs=tuple(file.ipvs.exclude_cidrs or ()),
        ipvs_strict_arp=file.ipvs.strict_arp,
        ipvs_timeouts=_ipvs_timeouts(file),
        healthz_address=healthz[0],
        healthz_port=healthz[1],
        metrics_address=metrics[0],
        metrics_port=metrics[1],
    )


async def _node(config: Config, name: str) -> Node:
    client = Client(config)
    try:
        return await client.get(NODES, name, None, Node)
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
    cidrs = wanted.flags.cluster_cidr or wanted.file.cluster_cidr
    if not cidrs and wanted.file.detect_local_mode == "NodeCIDR":
        cidrs = ",".join(node.spec.pod_cidrs)
    return str(cidrs)


def _node_port_addresses(wanted: Given) -> tuple[str, ...]:
    """CIDRs; `primary` and nothing both mean the node's own addresses."""
    flag = wanted.flags.nodeport_addresses
    addresses = flag.split(",") if flag else wanted.file.node_port_addresses or []
    return tuple(each.strip() for each in addresses if each.strip() not in ("", "primary"))


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
