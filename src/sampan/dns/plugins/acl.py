"""`acl [ZONE…] { ACTION [type TYPE…] [net SOURCE…] }`: who may ask for what. The first line that fits decides.

`allow` lets the query pass, `block` refuses it, `filter` answers that there is nothing, `drop` does not answer.
"""

import ipaddress
from dataclasses import dataclass

from sampan.dns import wire
from sampan.dns.corefile import Directive
from sampan.dns.plugins.base import Dropped, Kind, Next, Plugin, PluginContext, Request, in_zones
from sampan.dns.plugins.rewrite_names import type_of
from sampan.dns.wire import Reply

ACTIONS = ("allow", "block", "filter", "drop")
_BLOCKED, _FILTERED = 15, 17
_EXTENDED_ERROR = 15

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Policy:
    """Empty types or networks fit all."""

    action: str
    types: tuple[int, ...] = ()
    networks: tuple[Network, ...] = ()

    def fits(self, kind: int, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        if self.types and kind not in self.types:
            return False
        return not self.networks or any(address in network for network in self.networks)


@dataclass(frozen=True, slots=True)
class ACLOptions:
    zones: tuple[str, ...]
    policies: tuple[Policy, ...]


class ACL(Plugin):
    def __init__(self, options: ACLOptions, context: PluginContext) -> None:
        self._options = options
        self._metrics = context.metrics
        self._place = (context.server, context.zone, "")
        self._followed = context.followed

    async def serve(self, request: Request, next: Next) -> Reply:
        query, action = request.query, ""
        if not request.allowed and in_zones(query.name, self._options.zones):
            request.guarded = True
            action = self._action(query.type, request.client[0])
        if action == "block":
            self._metrics.acl_blocked.add(*self._place)
            return _refusal(wire.REFUSED, _BLOCKED)
        if action == "filter":
            self._metrics.acl_filtered.add(*self._place)
            return _refusal(wire.NOERROR, _FILTERED)
        if action == "drop":
            self._metrics.acl_dropped.add(*self._place)
            raise Dropped
        request.allowed = request.allowed or action == "allow"
        if not self._followed:
            self._metrics.acl_allowed.add(self._place[0], "")
        return await next(request)

    def _action(self, kind: int, client: str) -> str:
        """What the first rule that fits says; empty if none does."""
        try:
            address = ipaddress.ip_address(client.partition("%")[0])
        except ValueError:
            return "block"
        return next((policy.action for policy in self._options.policies if policy.fits(kind, address)), "")


def _refusal(rcode: int, reason: int) -> Reply:
    """With the reason after RFC 8914 for those who know EDNS."""
    return Reply(rcode, authoritative=False, options=((_EXTENDED_ERROR, reason.to_bytes(2, "big")),))


def parse(directive: Directive, zones: tuple[str, ...]) -> ACLOptions:
    policies = tuple(_policy(option) for option in directive.options)
    return ACLOptions(directive.zones() or zones, policies)


def _policy(option: Directive) -> Policy:
    if option.name not in ACTIONS:
        raise option.error(f"unknown action {option.name!r}; there are {', '.join(ACTIONS)}")
    types: list[int] = []
    networks: list[Network] = []
    section = ""
    every: set[str] = set()
    for word in option.arguments:
        if word in ("type", "net"):
            section = word
        elif not section:
            raise option.error(f"{word!r} stands behind neither type nor net")
        elif word == "*":
            every.add(section)
        elif section == "type":
            types.append(type_of(option, word))
        else:
            networks.append(_network(option, word))
    return Policy(option.name, () if "type" in every else tuple(types), () if "net" in every else tuple(networks))


def _network(option: Directive, text: str) -> Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise option.error(f"{text!r} is not a network or an address") from None


def make(options: ACLOptions, context: PluginContext) -> Plugin:
    return ACL(options, context)


KIND = Kind("acl", parse, make, any_class=True)
