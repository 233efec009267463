"""`rewrite edns0 local|nsid|subnet set|append|replace|unset …`: what resolvers that are asked get to hear of a client.

Only options that a rule names are passed on, those of the client included: `replace` changes one that the client has
sent, `append` adds one that it has not, `set` does either, `unset` takes it away.
"""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass

from sampan.dns import wire
from sampan.dns.corefile import Directive
from sampan.dns.plugins.base import Address, Request

NSID, SUBNET = 3, 8
ACTIONS = ("set", "append", "replace", "unset")

_OF_CLIENT = ("{client_ip}", "{client_port}")


@dataclass(frozen=True, slots=True)
class Option:
    """One rule about one option; no code stands for all of them."""

    action: str
    code: int | None
    data: Callable[[Request], bytes] = lambda request: b""
    personal: bool = False
    """The data says something of the client."""

    def apply(self, request: Request) -> bool:
        """Note what resolvers are told. False where the rule does not apply."""
        sent = dict(wire.read_options(request.query.options)) | request.options
        if self.action == "unset":
            codes = list(request.options) if self.code is None else [self.code]
            return any(request.options.pop(code, None) is not None for code in codes)
        code = self.code or 0
        if (self.action == "replace" and code not in sent) or (self.action == "append" and code in sent):
            if code in sent:
                request.options[code] = sent[code]
            return False
        request.options[code] = self.data(request)
        request.personal = request.personal or self.personal
        return True


def parse(directive: Directive, words: list[str]) -> Option:
    """What stands behind `edns0`. Raises CorefileError."""
    kind, action, *given = [*words, "", ""] if len(words) < 2 else words
    if given[-1:] == ["revert"]:
        given.pop()
    if action not in ACTIONS:
        raise directive.error(f"unknown action {action!r}; there are {', '.join(ACTIONS)}")
    match kind, action, given:
        case "local", "unset", ["all"]:
            return Option(action, None)
        case "local", "unset", [code]:
            return Option(action, _number(directive, code, 65535))
        case "local", _, [code, data]:
            return _local(directive, action, _number(directive, code, 65535), data)
        case "nsid", _, []:
            return Option(action, NSID)
        case "subnet", "unset", []:
            return Option(action, SUBNET)
        case "subnet", _, [four, six]:
            return _subnet(action, _number(directive, four, 32), _number(directive, six, 128))
    raise directive.error("expected: edns0 local ACTION CODE DATA, edns0 nsid ACTION, or edns0 subnet ACTION V4 V6")


def _local(directive: Directive, action: str, code: int, data: str) -> Option:
    if data in _VARIABLES:
        return Option(action, code, _VARIABLES[data], data in _OF_CLIENT)
    if data.startswith("{") and data.endswith("}"):
        raise directive.error(f"unknown variable {data!r}; there are {', '.join(_VARIABLES)}")
    try:
        found = bytes.fromhex(data[2:]) if data.startswith("0x") else data.encode()
    except ValueError:
        raise directive.error(f"{data!r} is not hexadecimal") from None
    return Option(action, code, lambda request: found)


def _subnet(action: str, four: int, six: int) -> Option:
    """The client's network (RFC 7871)."""

    def data(request: Request) -> bytes:
        address = ipaddress.ip_address(request.client[0].partition("%")[0])
        family, length = (1, four) if address.version == 4 else (2, six)
        network = ipaddress.ip_network((address, length), strict=False)
        return bytes((0, family, length, 0)) + network.network_address.packed[: -(-length // 8)]

    return Option(action, SUBNET, data, personal=True)


def _number(directive: Directive, text: str, most: int) -> int:
    try:
        number = int(text, 0)
    except ValueError:
        number = -1
    if not 0 <= number <= most:
        raise directive.error(f"{text!r} is not a number from 0 to {most}")
    return number


def _packed(address: Address) -> bytes:
    try:
        return ipaddress.ip_address(address[0].partition("%")[0]).packed
    except ValueError:
        return b""


_VARIABLES: dict[str, Callable[[Request], bytes]] = {
    "{qname}": lambda request: f"{request.query.name}.".encode("latin-1", "replace"),
    "{qtype}": lambda request: request.query.type.to_bytes(2, "big"),
    "{client_ip}": lambda request: _packed(request.client),
    "{client_port}": lambda request: request.client[1].to_bytes(2, "big"),
    "{protocol}": lambda request: request.protocol.encode(),
    "{server_ip}": lambda request: _packed(request.local),
    "{server_port}": lambda request: request.local[1].to_bytes(2, "big"),
}
