"""The IP sets that the fixed rules (rules.py) look up: with them, the number of rules is the same for any number of
Services. Names are upstream's, which are not longer than the kernel's 31 characters in IPv6 either.
"""

from sampan.kernel.ipset import SetType
from sampan.proxy.state import IPV6

CLUSTER_IP = "KUBE-CLUSTER-IP"
EXTERNAL_IP = "KUBE-EXTERNAL-IP"
EXTERNAL_IP_LOCAL = "KUBE-EXTERNAL-IP-LOCAL"
LOAD_BALANCER = "KUBE-LOAD-BALANCER"
LOAD_BALANCER_LOCAL = "KUBE-LOAD-BALANCER-LOCAL"
LOAD_BALANCER_FIREWALL = "KUBE-LOAD-BALANCER-FW"
SOURCE_CIDR = "KUBE-LOAD-BALANCER-SOURCE-CIDR"
SOURCE_IP = "KUBE-LOAD-BALANCER-SOURCE-IP"
LOOP_BACK = "KUBE-LOOP-BACK"
HEALTH_CHECK = "KUBE-HEALTH-CHECK-NODE-PORT"
ADDRESSES = "KUBE-IPVS-IPS"
NO_LOCAL_INTERNAL = "KUBE-CLUSTER-IP-NO-LOCAL"
"""Cluster IPs whose policy leaves no endpoint here: nobody gets through. Not upstream's, which refuses instead."""
NO_LOCAL_EXTERNAL = "KUBE-EXTERNAL-NO-LOCAL"
"""External addresses and node ports whose policy leaves no endpoint here for outsiders. Not upstream's."""

NODE_PORT = {"TCP": "KUBE-NODE-PORT-TCP", "UDP": "KUBE-NODE-PORT-UDP", "SCTP": "KUBE-NODE-PORT-SCTP-HASH"}
NODE_PORT_LOCAL = {
    "TCP": "KUBE-NODE-PORT-LOCAL-TCP",
    "UDP": "KUBE-NODE-PORT-LOCAL-UDP",
    "SCTP": "KUBE-NODE-PORT-LOCAL-SCTP-HASH",
}

SETS = {
    CLUSTER_IP: SetType.HASH_IP_PORT,
    EXTERNAL_IP: SetType.HASH_IP_PORT,
    EXTERNAL_IP_LOCAL: SetType.HASH_IP_PORT,
    LOAD_BALANCER: SetType.HASH_IP_PORT,
    LOAD_BALANCER_LOCAL: SetType.HASH_IP_PORT,
    LOAD_BALANCER_FIREWALL: SetType.HASH_IP_PORT,
    SOURCE_CIDR: SetType.HASH_IP_PORT_NET,
    SOURCE_IP: SetType.HASH_IP_PORT_IP,
    LOOP_BACK: SetType.HASH_IP_PORT_IP,
    HEALTH_CHECK: SetType.BITMAP_PORT,
    ADDRESSES: SetType.HASH_IP,
    NO_LOCAL_INTERNAL: SetType.HASH_IP_PORT,
    NO_LOCAL_EXTERNAL: SetType.HASH_IP_PORT,
    **{
        name: SetType.HASH_IP_PORT if protocol == "SCTP" else SetType.BITMAP_PORT
        for names in (NODE_PORT, NODE_PORT_LOCAL)
        for protocol, name in names.items()
    },
}
"""Every set of one family, with what it holds."""

_LONGEST_NAME = 31


def name_of(name: str, family: int) -> str:
    """What a set is called in the kernel, where both families share one name space."""
    return f"KUBE-6-{name.removeprefix('KUBE-')}"[:_LONGEST_NAME] if family == IPV6 else name
