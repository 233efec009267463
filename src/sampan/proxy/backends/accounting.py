"""Connections and bytes of every Service, for modes whose own rules cannot count them: a table of nftables that counts.

It translates and decides nothing, and lies outside every chain of the mode. Its elements are the Services' addresses,
so neither a change of endpoints nor a restart of the proxy touches what was counted. keys.py makes
them.

    prerouting, output, before the mode's rules ──► @connections, else @node-port-connections: first packets
    postrouting, input, if translated ─────────────► @traffic, else @node-port-traffic: all packets, both directions

nat hooks see the first packet of a connection only. What goes to a local address is counted once, though it passes
postrouting and input.
"""

import contextlib
import logging
from collections.abc import Iterable, Iterator

from sampan.kernel import nftexpressions as words
from sampan.kernel.nft import Nft, Transaction, key_element, load
from sampan.proxy.backends import keys
from sampan.proxy.backends.interface import Count
from sampan.proxy.state import ServicePort, ServicePortName, State
from sampan.proxy.tracker import Change, Changes

log = logging.getLogger(__name__)

TABLE = "sampan-accounting"
CONNECTIONS, TRAFFIC = "connections", "traffic"
NODE_PORTS = "node-port-"
"""Sets with this prefix have keys without an address: any local one."""

_ACCOUNT = "account"
_PORT_KEY_BYTES = 8


class Accounting:
    """One family's table, in the network namespace of whoever calls.

    With `every_local_address` a node port is counted at all of the node's addresses, otherwise at those of the state.
    """

    def __init__(self, family: int, *, every_local_address: bool) -> None:
        self._family = family
        self._every_local_address = every_local_address
        self._owners: dict[bytes, set[ServicePortName]] = {}
        self._node_ips: tuple[str, ...] = ()
        self._nft: Nft | None = None

    async def begin(self, state: State) -> None:
        """Count for these Services and no others, whatever is there; what was counted for them goes on.

        Raises OSError, NftError.
        """
        await load(ruleset(self._family))
        self._node_ips = state.node_ips
        self._owners = {}
        for name, port in state.ports.items():
            for key in self._keys(port):
                self._owners.setdefault(key, set()).add(name)
        nft = self._open()
        present = {
            key for prefix in ("", NODE_PORTS) for key, _ in nft.elements(self._family, TABLE, prefix + CONNECTIONS)
        }
        made = self._changes(present - self._owners.keys(), self._owners.keys() - present)
        made.flush_chain(_ACCOUNT)
        for rule in _account(self._family):
            made.add_rule(_ACCOUNT, rule)
        nft.commit(made)

    def follow(self, changes: Changes) -> bool:
        """Follow changes since the last call; False if the kernel does not have what it should: then `begin` is due."""
        before: dict[bytes, ServicePortName | None] = {}
        for name, change in changes.items():
            self._reclaim(name, change, before)
        moved = {key for key, owner in before.items() if owner != self._owner(key)}
        gone = {key for key in moved if before[key] is not None}
        new = {key for key in moved if key in self._owners}
        try:
            if moved:
                self._open().commit(self._changes(gone, new))
        except OSError as error:
            log.info("counting Services anew: %s", error)
            return False
        return True

    def counts(self) -> Iterator[tuple[ServicePortName, Count]]:
        """What every address of a service port has had. Raises OSError."""
        with contextlib.closing(Nft()) as nft:
            for prefix in ("", NODE_PORTS):
                traffic = {each.key: each.bytes for each in nft.counters(self._family, TABLE, prefix + TRAFFIC)}
                for each in nft.counters(self._family, TABLE, prefix + CONNECTIONS):
                    if name := self._owner(each.key):
                        yield name, Count(each.packets, traffic.get(each.key, 0))

    async def remove(self) -> None:
        """Remove the table. Raises OSError, NftError."""
        self._owners = {}
        await load(f"add table {_ip(self._family)} {TABLE}\ndelete table {_ip(self._family)} {TABLE}\n")

    def close(self) -> None:
        if self._nft is not None:
            self._nft.close()
            self._nft = None

    def _open(self) -> Nft:
        self._nft = self._nft or Nft()
        return self._nft

    def _keys(self, port: ServicePort | None) -> set[bytes]:
        if port is None:
            return set()
        ips = (port.cluster_ip, *port.external_ips, *port.load_balancer_ips)
        found = {keys.service_key(ip, port.protocol, port.port) for ip in ips}
        if port.node_port and self._every_local_address:
            found.add(keys.port_key(port.protocol, port.node_port))
        elif port.node_port:
            found.update(keys.service_key(ip, port.protocol, port.node_port) for ip in self._node_ips)
        return found

    def _owner(self, key: bytes) -> ServicePortName | None:
        """The Service that has an address. Two can have it only within one batch of changes: then the first by name."""
        return min(self._owners.get(key, ()), default=None)

    def _reclaim(self, name: ServicePortName, change: Change, before: dict[bytes, ServicePortName | None]) -> None:
        """Take a change in; `before` keeps who had what it touches."""
        old, new = self._keys(change.before), self._keys(change.after)
        for key in old ^ new:
            before.setdefault(key, self._owner(key))
            owners = self._owners.setdefault(key, set())
            (owners.add if key in new else owners.discard)(name)
            if not owners:
                del self._owners[key]

    def _changes(self, gone: Iterable[bytes], new: Iterable[bytes]) -> Transaction:
        made = Transaction(self._family, TABLE)
        for change, touched in ((made.delete_elements, gone), (made.add_elements, new)):
            by_prefix: dict[str, list[bytes]] = {}
            for key in touched:
                prefix = NODE_PORTS if len(key) == _PORT_KEY_BYTES else ""
                by_prefix.setdefault(prefix, []).append(key_element(key))
            for prefix, elements in by_prefix.items():
                for name in (CONNECTIONS, TRAFFIC):
                    change(prefix + name, elements)
        return made


def ruleset(family: int) -> str:
    """The fixed part, for `nft -f`; loading it over itself leaves the counts alone. `begin` fills the chain account."""
    ip = _ip(family)
    port = "inet_proto . inet_service"
    kinds = {"": f"{'ipv4_addr' if family == 4 else 'ipv6_addr'} . {port}", NODE_PORTS: port}
    sets = "".join(
        f"\tset {prefix}{name} {{ type {kind}; counter; }}\n"
        for prefix, kind in kinds.items()
        for name in (CONNECTIONS, TRAFFIC)
    )
    first = (
        f"{ip} daddr . meta l4proto . th dport @{CONNECTIONS} return",
        f"fib daddr type local meta l4proto . th dport @{NODE_PORTS}{CONNECTIONS}",
    )
    chains = {
        _ACCOUNT: ("", ()),
        "prerouting": ("type nat hook prerouting priority -110; policy accept;", first),
        "output": ("type nat hook output priority -110; policy accept;", first),
        "traffic-out": (
            "type filter hook postrouting priority 0; policy accept;",
            (f"ct status dnat jump {_ACCOUNT}",),
        ),
        "traffic-in": (
            "type filter hook input priority 0; policy accept;",
            (f'iifname != "lo" ct status dnat jump {_ACCOUNT}',),
        ),
    }
    declared = "".join(f"\tchain {name} {{ {hook} }}\n" for name, (hook, _) in chains.items())
    flushed = "".join(f"flush chain {ip} {TABLE} {name}\n" for name, (hook, _) in chains.items() if hook)
    filled = "".join(
        f"\tchain {name} {{\n" + "".join(f"\t\t{rule}\n" for rule in rules) + "\t}\n"
        for name, (_, rules) in chains.items()
        if rules
    )
    return f"table {ip} {TABLE} {{\n{sets}{declared}}}\n{flushed}table {ip} {TABLE} {{\n{filled}}}\n"


def _account(family: int) -> list[list[bytes]]:
    """The rules that count a packet of a translated connection. (nft 1.0 prints them, but does not read them.)"""
    first = words.FIRST_REGISTER
    return [
        [*words.original_service(first, family), words.set_lookup(TRAFFIC, first), words.end_of_chain()],
        [*words.original_port(first, family), words.set_lookup(NODE_PORTS + TRAFFIC, first)],
    ]


def _ip(family: int) -> str:
    return "ip" if family == 4 else "ip6"
