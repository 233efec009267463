"""Everything a proxy process is told when it starts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sampan.client.config import Config

HEALTHZ_PORT = 10256
METRICS_PORT = 10249
SYNC_PERIOD_SECONDS = 30.0

TCP_BE_LIBERAL = "net.netfilter.nf_conntrack_tcp_be_liberal"


@dataclass(frozen=True, slots=True)
class ModeFile:
    """A file that says which mode is wanted, also while the proxy runs. `read` gives it, or raises ValueError, OSError.

    What came of it is written to `answer`, if there is one: the mode in force, and on a second line why it is not the
    wanted one.
    """

    path: Path
    read: Callable[[Path], str] = lambda path: path.read_text().strip()
    answer: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ProxyOptions:
    """Which node this is, whom to follow, and how to treat traffic. Addresses of several families are allowed.

    Sources in `cluster_cidr` (several are separated by commas) are pods, or, if there is one, packets that come in by
    `pods_interface`, which is a name, or with a + at its end the beginning of names.

    `node_port_addresses` are CIDRs of local addresses that serve node ports; empty means `node_ips` themselves.
    In the iptables mode the former includes 127.0.0.1 if `localhost_node_ports`, as in upstream's.
    `conntrack` are kernel parameters to set (conntrack.py makes them). What `mode_file` says takes precedence over
    `mode`. `ipvs_strict_arp` keeps a node from answering ARP for addresses of kube-ipvs0; `ipvs_timeouts` are seconds
    for TCP, TCP after FIN and UDP, 0 to keep the kernel's. Virtual servers of others in `ipvs_exclude_cidrs` are left
    alone, whatever their address and port. `must_listen` makes a health or metrics port that is taken an error.
    Every `sync_period` seconds without a sync, a look tells whether others have removed rules.
    """

    node_name: str
    node_ips: tuple[str, ...]
    config: Config
    mode: str = "nftables"
    mode_file: ModeFile | None = None
    cluster_cidr: str = "10.244.0.0/16"
    pods_interface: str = ""
    node_port_addresses: tuple[str, ...] = ()
    conntrack: Mapping[str, int] = field(default_factory=dict)
    masquerade_all: bool = False
    masquerade_bit: int = 14
    localhost_node_ports: bool = True
    ipvs_scheduler: str = "rr"
    ipvs_exclude_cidrs: tuple[str, ...] = ()
    ipvs_strict_arp: bool = False
    ipvs_timeouts: tuple[int, int, int] = (0, 0, 0)
    healthz_address: str = "0.0.0.0"
    healthz_port: int = HEALTHZ_PORT
    metrics_address: str = "127.0.0.1"
    metrics_port: int = METRICS_PORT
    must_listen: bool = False
    sync_period: float = SYNC_PERIOD_SECONDS

    @property
    def cluster_cidrs(self) -> tuple[str, ...]:
        """The pods' networks; none where an interface tells who is a pod."""
        cidrs = "" if self.pods_interface else self.cluster_cidr
        return tuple(each.strip() for each in cidrs.split(",") if each.strip())

    @property
    def drops_invalid(self) -> bool:
        """Whether packets that conntrack takes for invalid are dropped: not if it was told to be liberal."""
        return not self.conntrack.get(TCP_BE_LIBERAL)

    @property
    def families(self) -> tuple[int, ...]:
        """The families this node has addresses of."""
        return tuple(sorted({6 if ":" in ip else 4 for ip in self.node_ips})) or (4,)
