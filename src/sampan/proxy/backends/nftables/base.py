"""The fixed part of the nftables ruleset, which does not depend on Services: sets, hooks, masquerading chains.

Loaded once by nft at start-up. Loading it again over itself changes nothing and interrupts nothing: sets keep their
elements, and the chains' rules are replaced within one transaction. The packet's path is drawn in README.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sampan.proxy.backends.nftables import layout


@dataclass(frozen=True, slots=True)
class BaseOptions:
    """What the fixed rules depend on. Sources outside `cluster_cidrs` are masqueraded on their way to a cluster IP.

    Where there is a `pods_interface` (with a + at its end: all whose names begin so), what comes in by it is a pod's.
    What goes to an address of `service_cidrs` that no Service has is dropped.
    """

    family: int
    cluster_cidrs: Sequence[str] = ()
    masquerade_all: bool = False
    masquerade_bit: int = 14
    service_cidrs: Sequence[str] = ()
    pods_interface: str = ""
    drop_invalid: bool = True

    @property
    def interface(self) -> str:
        """The pods' interface as nft writes it."""
        return f'"{self.pods_interface.removesuffix("+")}{"*" if self.pods_interface.endswith("+") else ""}"'

    @property
    def mark(self) -> str:
        return f"0x{1 << self.masquerade_bit:x}"


def ruleset(options: BaseOptions) -> str:
    """The whole text for `nft -f`."""
    chains = _chains(options)
    ip = _ip(options)
    declared = "".join(f"\tchain {name} {{ {hook} }}\n" for name, (hook, _) in chains.items())
    flushed = "".join(f"flush chain {ip} {layout.TABLE} {name}\n" for name in chains)
    filled = "".join(
        f"\tchain {name} {{\n" + "".join(f"\t\t{rule}\n" for rule in rules) + "\t}\n"
        for name, (_, rules) in chains.items()
    )
    declared += "".join(f"\tchain {name} {{ }}\n" for name in (layout.REMEMBER, layout.ACCOUNT))  # encode.py fills them
    return (
        f"table {ip} {layout.TABLE} {{\n{_sets(options.family)}{declared}}}\n"
        f"{flushed}table {ip} {layout.TABLE} {{\n{filled}}}\n"
    )


def removal(family: int) -> str:
    """The text that deletes the table, whether it exists or not."""
    ip = "ip" if family == 4 else "ip6"
    return f"add table {ip} {layout.TABLE}\ndelete table {ip} {layout.TABLE}\n"


def _ip(options: BaseOptions) -> str:
    return "ip" if options.family == 4 else "ip6"


def endpoint_map(family: int, count: int) -> str:
    """The text that makes one map of endpoints, if it does not exist."""
    ip = "ip" if family == 4 else "ip6"
    kind = f"typeof {ip} daddr . meta l4proto . th dport . numgen random mod 2 : {ip} daddr . th dport"
    return f"add map {ip} {layout.TABLE} {layout.endpoint_map(count)} {{ {kind}; }}\n"


def affinity_maps(family: int, service: str) -> str:
    """The text that makes the maps of one service port with affinity, if they do not exist."""
    ip = "ip" if family == 4 else "ip6"
    endpoint = f"{ip} daddr . th dport"
    dynamic = f"size {layout.AFFINITY_CLIENTS}; flags dynamic,timeout; "
    maps = (
        (layout.AFFINITY, f"{ip} saddr : meta priority; {dynamic}"),
        (layout.NUMBERS, f"{endpoint} : meta priority; "),
        (layout.SLOTS, f"meta priority : {endpoint}; "),
        (layout.LOCAL_SLOTS, f"meta priority : {endpoint}; "),
    )
    return "".join(f"add map {ip} {layout.TABLE} {prefix}{service} {{ typeof {kind}}}\n" for prefix, kind in maps)


def _sets(family: int) -> str:
    address = layout.ADDRESS_TYPES[family]
    service = f"{address} . inet_proto . inet_service"
    maps = [
        (f"map {layout.STICKY_SERVICES}", f"type {service} : verdict"),
        (f"map {layout.SERVICES}", f"type {service} : verdict"),
        (f"map {layout.EXTERNAL_SERVICES}", f"type {service} : verdict"),
        (f"map {layout.LOCAL_SERVICES}", f"type {service} : verdict"),
        (f"set {layout.CLUSTER_IPS}", f"type {address}"),
        *((f"set {name}", f"type {service}; counter") for name in layout.COUNTED),
        (f"set {layout.HAIRPINS}", f"type {address} . {address}"),
        (f"set {layout.ALLOWED_SOURCES}", f"type {service} . {address}; flags interval"),
    ]
    return "".join(f"\t{name} {{ {kind}; }}\n" for name, kind in maps)


def _chains(options: BaseOptions) -> dict[str, tuple[str, list[str]]]:
    """Every fixed chain: its hook, if it has one, and its rules.

    Entries of the maps jump to chains that end a packet's way, so that a look-up is passed only if there is no entry,
    or if the entry changed just now: the second look-up finds the new one.
    """
    ip = _ip(options)
    mark = options.mark
    key = f"{ip} daddr . meta l4proto . th dport"
    lookup = [f"{key} vmap @{layout.SERVICES}"] * 2
    local_lookup = [f"{key} vmap @{layout.LOCAL_SERVICES}"] * 2
    admitted = f"{key} . {ip} saddr @{layout.ALLOWED_SOURCES}"
    return {
        **_hooks(options),
        layout.REFUSE: ("", ["meta l4proto tcp reject with tcp reset", "reject"]),
        layout.DISCARD: ("", ["drop"]),
        "mark-for-masquerade": ("", [f"meta mark set meta mark or {mark}"]),
        "cluster-ip": ("", [*_masquerade_outsiders(options), *lookup, f"goto {layout.REFUSE}"]),
        "anywhere": ("", [*lookup, "drop"]),
        layout.EXTERNAL: ("", ["jump mark-for-masquerade", "goto anywhere"]),
        layout.LOCAL: ("", [*_local_traffic(options), *local_lookup, "drop"]),
        layout.FIREWALLED + layout.EXTERNAL: ("", [f"{admitted} goto {layout.EXTERNAL}", "drop"]),
        layout.FIREWALLED + layout.LOCAL: ("", [f"{admitted} goto {layout.LOCAL}", "drop"]),
    }


def _hooks(options: BaseOptions) -> dict[str, tuple[str, list[str]]]:
    """The chains that packets come to by themselves."""
    ip, mark = _ip(options), options.mark
    key = f"{ip} daddr . meta l4proto . th dport"
    dispatch = [
        f"{key} @{layout.CONNECTIONS}",
        f"{ip} daddr @{layout.CLUSTER_IPS} goto cluster-ip",
        f"{key} vmap @{layout.EXTERNAL_SERVICES}",
        *([f"{ip} daddr {{ {', '.join(options.service_cidrs)} }} drop"] if options.service_cidrs else []),
    ]
    invalid = ["ct state invalid drop"] if options.drop_invalid else []
    account = f"ct status dnat jump {layout.ACCOUNT}"
    return {
        "prerouting": ("type nat hook prerouting priority -100; policy accept;", dispatch),
        "output": ("type nat hook output priority -100; policy accept;", dispatch),
        "postrouting": (
            "type nat hook postrouting priority 100; policy accept;",
            [
                f"ct status dnat jump {layout.REMEMBER}",
                f"ct status dnat {ip} saddr . {ip} daddr @{layout.HAIRPINS} masquerade fully-random",
                f"meta mark and {mark} == 0 return",
                f"meta mark set meta mark xor {mark}",
                "masquerade fully-random",
            ],
        ),
        "input": ("type nat hook input priority 100; policy accept;", [f"ct status dnat jump {layout.REMEMBER}"]),
        "traffic-out": ("type filter hook postrouting priority 0; policy accept;", [account]),
        "traffic-in": ("type filter hook input priority 0; policy accept;", [f'iifname != "lo" {account}']),
        "forward": ("type filter hook forward priority 0; policy accept;", invalid),
    }


def _masquerade_outsiders(options: BaseOptions) -> list[str]:
    if options.masquerade_all:
        return ["jump mark-for-masquerade"]
    if options.pods_interface:
        return [f"iifname != {options.interface} jump mark-for-masquerade"]
    if not options.cluster_cidrs:
        return []
    return [f"{_ip(options)} saddr != {{ {', '.join(options.cluster_cidrs)} }} jump mark-for-masquerade"]


def _local_traffic(options: BaseOptions) -> list[str]:
    """Under the Local policy, pods and the node itself may still use every endpoint, as if by the cluster IP."""
    cidrs = ", ".join(options.cluster_cidrs)
    pods = [f"{_ip(options)} saddr {{ {cidrs} }} goto anywhere"] if cidrs else []
    if options.pods_interface:
        pods = [f"iifname {options.interface} goto anywhere"]
    return [*pods, "fib saddr type local jump mark-for-masquerade", "fib saddr type local goto anywhere"]
