"""The components of a cluster as data: what runs, where, after what, told what.

`table` is the whole list. `init.py` runs it and knows nothing of what is in it. Every component is an
`async run(options, ready)` in a module of its own; options are made in the component's process.
"""

from __future__ import annotations

import hmac
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sampan.client.config import Config
from sampan.cluster import lan, view
from sampan.cluster.config import ClusterConfig
from sampan.cluster.paths import ClusterPaths

API_PORT = 6443
HEALTH_PORT = 10248
"""Of each node's agent, on the node's loopback."""


@dataclass(frozen=True, slots=True)
class Context:
    """What options are made from. `api_sockets` are the API server's, which outlive its process.

    `mapped` are those of the nodes' extraPortMappings, in their order; they stay with the supervisor.
    """

    config: ClusterConfig
    paths: ClusterPaths
    api_sockets: tuple[socket.socket, ...] = ()
    mapped: tuple[socket.socket, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One process. `run` is `module:function`; `node` puts it into that node's network; `once`: it may end well.

    The cluster is up without one that is `optional`, which may end well at any time: there is nothing for it to do.
    """

    name: str
    run: str
    options: Callable[[Context], Any]
    node: str = ""
    after: tuple[str, ...] = ()
    announce: str = ""
    once: bool = False
    optional: bool = False

    @property
    def module(self) -> str:
        return self.run.partition(":")[0]


def table(config: ClusterConfig) -> tuple[Component, ...]:
    """Every component of a cluster, in the order they are started as far as `after` allows."""
    return (
        Component(
            name="apiserver", run="sampan.apiserver.main:run", options=_api_server, announce="API server answers"
        ),
        *_outbound(config),
        Component(
            name="controllers", run="sampan.cluster.control_plane:run", options=_control_plane, after=("apiserver",)
        ),
        Component(
            name="bootstrap",
            run="sampan.cluster.bootstrap:run",
            options=_bootstrap,
            node=config.node_list[0].name,
            after=("apiserver",),
            once=True,
        ),
        *(component for index in range(len(config.node_list)) for component in _node(config, index)),
    )


def _node(config: ClusterConfig, index: int) -> tuple[Component, Component]:
    name = config.node_list[index].name

    def agent(context: Context) -> Any:
        return _agent(context, index)

    def proxy(context: Context) -> Any:
        return _proxy(context, index)

    services = "sampan.cluster.nodeservices:run" if config.load_balancer.enabled else "sampan.proxy.main:run"
    return (
        Component(name=f"{name}-agent", run="sampan.node.main:run", options=agent, node=name, after=("apiserver",)),
        Component(name=f"{name}-proxy", run=services, options=proxy, node=name, after=("apiserver",)),
    )


def _outbound(config: ClusterConfig) -> tuple[Component, ...]:
    def options(context: Context) -> Any:
        return context.config

    if config.isolated:
        return ()
    return (Component(name="outbound", run="sampan.cluster.outbound:run", options=options, optional=True),)


def client_config(context: Context, identity: str) -> Config:
    """How a component inside the box reaches the API server, as whom (the name of a certificate in `pki/`)."""
    pki = context.paths.pki
    return Config(
        server=f"https://{context.config.gateway}:{API_PORT}",
        ca_file=str(pki / "ca.crt"),
        cert_file=str(pki / f"{identity}.crt"),
        key_file=str(pki / f"{identity}.key"),
    )


def _api_server(context: Context) -> Any:
    from sampan.apiserver.main import APIServerOptions

    config, paths = context.config, context.paths
    return APIServerOptions(
        sockets=context.api_sockets,
        store=f"sqlite:{paths.store}" if config.store == "sqlite" else "memory:",
        pki=paths.pki,
        service_cidr=config.network.services,
        node_port_range=config.node_port_range,
        kubernetes_version=config.kubernetes_version,
        advertise_address=config.gateway,
        advertise_port=API_PORT,
        service_account_issuer=f"https://kubernetes.default.svc.{config.network.domain}",
        cluster_domain=config.network.domain,
    )


def _control_plane(context: Context) -> Any:
    from sampan.cluster.control_plane import ControlPlaneOptions
    from sampan.controllers.manager import ControllersOptions
    from sampan.scheduler.main import SchedulerOptions

    controllers = ControllersOptions(
        config=client_config(context, "controller-manager"),
        cluster_cidr=context.config.network.pods,
        ca_file=context.paths.pki / "ca.crt",
        health_port=10257,
    )
    scheduler = SchedulerOptions(config=client_config(context, "scheduler"), health_port=10259)
    return ControlPlaneOptions(controllers, scheduler, _load_balancer(context))


def _load_balancer(context: Context) -> Any:
    if not context.config.load_balancer.enabled:
        return None
    from sampan.loadbalancer.controller import ControllerOptions

    pools = context.config.load_balancer_pools
    return ControllerOptions(config=client_config(context, "controller-manager"), pools=pools)


def _agent(context: Context, index: int) -> Any:
    from sampan.cluster.lan import NEVER_OUT
    from sampan.node.images.dialing import Ways
    from sampan.node.options import AgentOptions, NodeMount

    config, paths = context.config, context.paths
    node = config.node_list[index]
    return AgentOptions(
        node_name=node.name,
        node_ip=config.node_ip(index),
        pod_cidr=config.pod_cidr(index),
        config=client_config(context, f"node-{node.name}-client"),
        root=paths.node(node.name),
        run=view.RUN / "nodes" / node.name,
        images=paths.images,
        direct_networks=(config.network.pods, config.network.nodes),
        service_networks=(config.network.services,),
        cluster_dns=config.dns_servers,
        cluster_domain=config.network.domain,
        resolv_conf=view.UPSTREAM_RESOLV,
        serving_cert=paths.pki / f"node-{node.name}-server.crt",
        serving_key=paths.pki / f"node-{node.name}-server.key",
        client_ca=paths.pki / "ca.crt",
        labels=node.labels,
        taints=tuple({"key": taint.key, "value": taint.value, "effect": taint.effect} for taint in node.taints),
        kubernetes_version=config.kubernetes_version,
        cgroup_parent=f"/{node.name}",
        health_port=HEALTH_PORT,
        hidden=(paths.root,),
        extra_mounts=tuple(
            NodeMount(Path(one.host_path), one.container_path, one.read_only) for one in node.extra_mounts
        ),
        registries=Ways(
            cluster=config.ranges,
            outside=view.HOST_NETWORK,
            never=NEVER_OUT,
            loopback=("inside", "outside") if config.allow_host_loopback else ("inside",),
        ),
    )


def _proxy(context: Context, index: int) -> Any:
    from sampan.proxy.options import ModeFile, ProxyOptions

    config = context.config
    name = config.node_list[index].name
    proxy = ProxyOptions(
        node_name=name,
        node_ips=(config.node_ip(index),),
        config=client_config(context, "proxy"),
        mode=config.proxy_mode,
        mode_file=ModeFile(context.paths.proxy_mode, answer=context.paths.proxy_mode_answers / name),
        cluster_cidr=config.network.pods,
        ipvs_strict_arp=config.load_balancer.enabled,
    )
    if not config.load_balancer.enabled:
        return proxy
    from sampan.cluster.nodeservices import NodeServicesOptions

    return NodeServicesOptions(proxy, _speaker(context, name))


def _speaker(context: Context, node: str) -> Any:
    """Every node's speaker has the same secret, which is made of one that never leaves the box."""
    from sampan.loadbalancer.speaker import SpeakerOptions

    authority = (context.paths.pki / "ca.key").read_bytes()
    return SpeakerOptions(
        node_name=node,
        interface=lan.NODE_LINK,
        config=client_config(context, "proxy"),
        key=hmac.digest(authority, b"load balancer heartbeats", "sha256"),
        pools=context.config.load_balancer_pools,
        health_url=f"http://127.0.0.1:{HEALTH_PORT}/healthz",
    )


def _bootstrap(context: Context) -> Any:
    from sampan.cluster.bootstrap import BootstrapOptions

    return BootstrapOptions(config=client_config(context, "admin"), cluster=context.config)


def log_file(logs: Path, component: str) -> Path:
    return logs / f"{component}.log"
