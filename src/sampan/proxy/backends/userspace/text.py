"""The table in nft's language: its fixed part, its whole content, and changes. Pure; `nft -f` applies it.

prerouting, output ─► services ─► from a source that a filter does not admit ─► drop
                               ├► @verdicts: no endpoint ─► refuse, discard
                               ├► neither a pod nor the node: @outside-verdicts, @outside-listeners
                               └► @listeners: DNAT to the node's address and the listener's port
                                  a cluster IP without such a port ─► refuse
input ─► to a listener's port without DNAT ─► drop: listeners are reached through their Service only
"""

from collections.abc import Iterable, Mapping, Sequence

from sampan.proxy.backends.userspace import rules
from sampan.proxy.backends.userspace.rules import Listener, ListenerName, Slot

TABLE = "sampan-proxy-userspace"


def fixed(family: int, cluster_cidrs: Sequence[str], pods_interface: str = "") -> str:
    """Sets, maps and chains; loading them over themselves changes nothing and leaves the content alone."""
    ip = _ip(family)
    chains = _chains(ip, cluster_cidrs, pods_interface)
    declared = "".join(f"\tchain {name} {{ {hook} }}\n" for name, (hook, _) in chains.items())
    flushed = "".join(f"flush chain {ip} {TABLE} {name}\n" for name in chains)
    filled = "".join(
        f"\tchain {name} {{\n" + "".join(f"\t\t{line}\n" for line in lines) + "\t}\n"
        for name, (_, lines) in chains.items()
    )
    sets = "".join(f"\t{line}\n" for line in _sets(ip))
    return f"table {ip} {TABLE} {{\n{sets}{declared}}}\n{flushed}table {ip} {TABLE} {{\n{filled}}}\n"


def removal(family: int) -> str:
    """Deletes the table, whether it exists or not."""
    return f"add table {_ip(family)} {TABLE}\ndelete table {_ip(family)} {TABLE}\n"


def content(family: int, entries: Mapping[Slot, str]) -> str:
    """Replaces all content."""
    kinds = {line.split()[1]: line.split()[0] for line in _sets(_ip(family))}
    flushed = "".join(f"flush {kind} {_ip(family)} {TABLE} {name}\n" for name, kind in kinds.items())
    return flushed + _commands("add", family, entries)


def changes(family: int, changed: Mapping[Slot, tuple[str | None, str | None]]) -> str:
    """Changes some of the content, given each slot's data before and after."""
    gone = {slot: old for slot, (old, _) in changed.items() if old is not None}
    new = {slot: data for slot, (_, data) in changed.items() if data is not None}
    return _commands("delete", family, gone) + _commands("add", family, new)


def description(listeners: Mapping[ListenerName, Listener], numbers: Mapping[ListenerName, int]) -> str:
    """What each listener relays to, as comments for a reader."""
    lines = []
    for name, listener in sorted(listeners.items()):
        to = ", ".join(f"{each.ip}:{each.port}" if ":" not in each.ip else f"[{each.ip}]:{each.port}"
                       for each in listener.endpoints)  # fmt: skip
        stay = f", a client stays for {listener.affinity_seconds} s" if listener.affinity_seconds else ""
        port = f"{listener.protocol.lower()} port {numbers[name]}"
        lines.append(f"# {name.service}, {name.role}: {port}, round robin over {to}{stay}\n")
    return "".join(lines)


def _ip(family: int) -> str:
    return "ip" if family == 4 else "ip6"


def _sets(ip: str) -> list[str]:
    address = "ipv4_addr" if ip == "ip" else "ipv6_addr"
    key = f"{address} . inet_proto . inet_service"
    return [
        f"set {rules.CLUSTER_IPS} {{ type {address}; }}",
        f"map {rules.VERDICTS} {{ type {key} : verdict; }}",
        f"map {rules.OUTSIDE_VERDICTS} {{ type {key} : verdict; }}",
        f"map {rules.LISTENERS} {{ type {key} : {address} . inet_service; }}",
        f"map {rules.OUTSIDE_LISTENERS} {{ type {key} : {address} . inet_service; }}",
        f"set {rules.FILTERED} {{ type {key}; }}",
        f"set {rules.ALLOWED_SOURCES} {{ type {key} . {address}; flags interval; }}",
        f"set {rules.LISTENER_PORTS} {{ type inet_proto . inet_service; }}",
    ]


def _chains(ip: str, cluster_cidrs: Sequence[str], interface: str) -> dict[str, tuple[str, list[str]]]:
    key = f"{ip} daddr . meta l4proto . th dport"
    pods = [f"{ip} saddr {{ {', '.join(cluster_cidrs)} }} goto spread"] if cluster_cidrs else []
    if interface:
        pods = [f'iifname "{interface.removesuffix("+")}{"*" if interface.endswith("+") else ""}" goto spread']
    return {
        "prerouting": ("type nat hook prerouting priority -100; policy accept;", ["goto services"]),
        "output": ("type nat hook output priority -100; policy accept;", ["goto services"]),
        "input": (
            "type filter hook input priority 0; policy accept;",
            ["ct status dnat accept", f"meta l4proto . th dport @{rules.LISTENER_PORTS} drop"],
        ),
        "refuse": ("", ["meta l4proto tcp reject with tcp reset", "reject"]),
        "discard": ("", ["drop"]),
        "services": (
            "",
            [
                f"{key} @{rules.FILTERED} {key} . {ip} saddr != @{rules.ALLOWED_SOURCES} drop",
                f"{key} vmap @{rules.VERDICTS}",
                *pods,
                "fib saddr type local goto spread",
                f"{key} vmap @{rules.OUTSIDE_VERDICTS}",
                f"dnat {ip} addr . port to {key} map @{rules.OUTSIDE_LISTENERS}",
                "goto spread",
            ],
        ),
        "spread": (
            "",
            [
                f"dnat {ip} addr . port to {key} map @{rules.LISTENERS}",
                f"{ip} daddr @{rules.CLUSTER_IPS} goto refuse",
            ],
        ),
    }


def _commands(verb: str, family: int, entries: Mapping[Slot, str]) -> str:
    by_container: dict[str, list[str]] = {}
    for slot, data in sorted(entries.items()):
        by_container.setdefault(slot.container, []).append(f"{slot.key} : {data}" if data else slot.key)
    return "".join(_command(verb, family, name, lines) for name, lines in by_container.items())


def _command(verb: str, family: int, container: str, lines: Iterable[str]) -> str:
    joined = ",\n\t".join(lines)
    return f"{verb} element {_ip(family)} {TABLE} {container} {{\n\t{joined}\n}}\n"
