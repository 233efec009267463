"""`kubernetes [ZONE…]`: the names of the cluster, from `records`."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from sampan.dns import wire
from sampan.dns.cluster import Key
from sampan.dns.corefile import Directive
from sampan.dns.plugins.base import MOST_HOPS, Kind, Next, Plugin, PluginContext, Request, in_zones
from sampan.dns.records import Zone, ZoneOptions
from sampan.dns.wire import Query, Reply, encode_name
from sampan.machinery.selectors import SelectorError, parse_labels

log = logging.getLogger(__name__)

_REVERSE = ("in-addr.arpa", "ip6.arpa")


@dataclass(frozen=True, slots=True)
class KubernetesOptions:
    domains: tuple[str, ...] = ()
    """The zones of clusters; if empty, the cluster's own."""
    reverse: tuple[str, ...] = ()
    """The reverse zones answered for."""
    fallthrough: tuple[str, ...] = ()
    """Where the next plugin may know what the cluster does not."""
    kubeconfig: tuple[str, str] = ("", "")
    """The file and context that lead to the API server, if not the pod's own account."""
    endpoint: str = ""
    """The API server's address, if there is no kubeconfig."""
    tls: tuple[str, str, str] = ("", "", "")
    """For that: a certificate, its key, and the authorities to trust."""
    zone: ZoneOptions = field(default_factory=ZoneOptions)
    remarks: tuple[str, ...] = ()
    """What is to be said in the log when this is served."""


class Kubernetes(Plugin):
    def __init__(self, options: KubernetesOptions, context: PluginContext) -> None:
        domains = options.domains or (context.domain,)
        self._zones = [Zone(context.cluster, domain, options.zone) for domain in domains]
        self._served = (*domains, *options.reverse)
        self._options = options
        self._resolve = context.resolve

    async def serve(self, request: Request, next: Next) -> Reply:
        query = request.query
        if not in_zones(query.name, self._served):
            return await next(request)
        reply = self._answer(query)
        if (reply is None or reply.rcode == wire.NXDOMAIN) and in_zones(query.name, self._options.fallthrough):
            return await next(request)
        if reply is not None and reply.chase:
            return await self._follow(request, reply)
        request.lasting = True
        request.service = self._only_service(query.name)
        return reply if reply is not None else self._zones[0].denial(self._reverse_zone(query.name))

    async def _follow(self, request: Request, ours: Reply) -> Reply:
        """Our own records and, behind them, those that the whole server finds for the name they lead to."""
        query = request.query
        if request.hops >= MOST_HOPS:
            return replace(ours, rcode=wire.SERVFAIL)
        question = encode_name(ours.chase) + query.question[-4:]
        behind = await self._resolve(request.about(replace(query, name=ours.chase, question=question)))
        return replace(behind, answers=(*ours.answers, *behind.answers), authoritative=True, authentic=False)

    def _answer(self, query: Query) -> Reply | None:
        """What the first zone that knows the name says."""
        for zone in self._zones:
            if (reply := zone.answer(query.name, query.type)) is not None:
                return reply
        return None

    def _only_service(self, name: str) -> Key | None:
        """The Service that alone decides what a name means, if there is one."""
        if len(self._zones) != 1 or self._options.fallthrough:
            return None
        return self._zones[0].only_service(name)

    def _reverse_zone(self, name: str) -> str:
        return max((zone for zone in self._options.reverse if in_zones(name, (zone,))), key=len, default="")


def parse(directive: Directive, zones: tuple[str, ...]) -> KubernetesOptions:
    named = directive.zones() or tuple(zone for zone in zones if zone)
    options = KubernetesOptions(
        tuple(zone for zone in named if not zone.endswith(_REVERSE)),
        tuple(zone for zone in named if zone.endswith(_REVERSE)),
    )
    for option in directive.options:
        if option.name == "fallthrough":
            options = replace(options, fallthrough=option.zones() or ("",))
        elif option.name == "kubeconfig":
            file, context = (*option.expect(1, 2), "")[:2]
            options = replace(options, kubeconfig=(file, context))
        elif option.name == "endpoint":
            options = replace(options, endpoint=_endpoint(option))
        elif option.name == "tls":
            option.expect(3)
            options = replace(options, tls=(str(option.path(0)), str(option.path(1)), str(option.path(2))))
        elif option.name in _READERS:
            options = replace(options, zone=replace(options.zone, **_READERS[option.name](option)))
        elif option.name in _IGNORED:
            remark = f"{option.file}:{option.line}: kubernetes: {option.name} is ignored: {_IGNORED[option.name]}"
            options = replace(options, remarks=(*options.remarks, remark))
        else:
            raise option.unknown((*_READERS, "endpoint", "fallthrough", "kubeconfig", "tls"))
    return options


def _endpoint(option: Directive) -> str:
    (url,) = option.expect(1)
    return url if "://" in url else f"http://{url}"


def _pods(option: Directive) -> dict[str, Any]:
    (mode,) = option.expect(1)
    if mode not in ("disabled", "insecure", "verified"):
        raise option.error(f"unknown mode {mode!r} of pods; there are disabled, insecure, verified")
    return {"pods": mode}


def _selector(name: str) -> Callable[[Directive], dict[str, Any]]:
    def read(option: Directive) -> dict[str, Any]:
        try:
            return {name: parse_labels(" ".join(option.expect(1, 999)))}
        except SelectorError as error:
            raise option.error(str(error)) from error

    return read


def _ttl(option: Directive) -> dict[str, Any]:
    option.expect(1)
    return {"ttl": option.number(0, 0, 3600)}


def _ignore(option: Directive) -> dict[str, Any]:
    if option.expect(1) != ("empty_service",):
        raise option.error(f"unknown thing to ignore: {option.arguments[0]!r}; there is empty_service")
    return {"ignore_empty": True}


_READERS: dict[str, Callable[[Directive], dict[str, Any]]] = {
    "pods": _pods,
    "ttl": _ttl,
    "labels": _selector("labels"),
    "namespace_labels": _selector("namespace_labels"),
    "namespaces": lambda option: {"namespaces": option.expect(1, 999)},
    "noendpoints": lambda option: {"endpoints": not option.flag()},
    "endpoint_pod_names": lambda option: {"endpoint_pod_names": option.flag()},
    "ignore": _ignore,
}


_IGNORED = {
    "resyncperiod": "the watch misses nothing",
    "upstream": "aliases are looked up with this server itself",
    "startup_timeout": "names are served as soon as the cluster is known, and not before",
    "apiserver_qps": "the watches are all that is asked",
    "apiserver_burst": "the watches are all that is asked",
    "apiserver_max_inflight": "the watches are all that is asked",
}


def make(options: KubernetesOptions, context: PluginContext) -> Plugin:
    for remark in options.remarks:
        log.warning("%s", remark)
    return Kubernetes(options, context)


KIND = Kind("kubernetes", parse, make)
