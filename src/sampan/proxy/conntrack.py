"""How many connections the kernel tracks, and for how long, as KubeProxyConfiguration's `conntrack` section says.

`parameters` decides, `apply` writes. The table's size belongs to the whole machine: inside a container or another
network namespace the kernel does not let it be changed, which is reported and done without.
"""

import logging

from sampan.kernel import sysctl
from sampan.machinery.durations import seconds
from sampan.proxy.configuration import ConntrackSection

log = logging.getLogger(__name__)

MAX_PER_CORE = 32768
MIN = 131072
TCP_ESTABLISHED = "24h"
TCP_CLOSE_WAIT = "1h"

PREFIX = "net.netfilter.nf_conntrack_"


def parameters(section: ConntrackSection, cores: int) -> dict[str, int]:
    """Kernel parameters to set, by name. What the section sets to 0 is left as it is. Durations must be valid."""
    durations = {
        "tcp_timeout_established": TCP_ESTABLISHED if section.tcp_established_timeout is None
        else section.tcp_established_timeout,
        "tcp_timeout_close_wait": TCP_CLOSE_WAIT if section.tcp_close_wait_timeout is None
        else section.tcp_close_wait_timeout,
        "udp_timeout": section.udp_timeout,
        "udp_timeout_stream": section.udp_stream_timeout,
    }  # fmt: skip
    found = {"max": _most(section, cores)}
    found |= {name: round(seconds(duration)) for name, duration in durations.items() if duration}
    if section.tcp_be_liberal:
        found["tcp_be_liberal"] = 1
    return {PREFIX + name: value for name, value in found.items() if value > 0}


def apply(wanted: dict[str, int]) -> None:
    """Set parameters; one that cannot be set is reported, and the others are set."""
    for name, value in wanted.items():
        try:
            if name != PREFIX + "max" or int(sysctl.read(name)) < value:
                sysctl.write(name, value)
        except (OSError, ValueError) as error:
            log.warning("%s=%d: %s", name, value, error)


def _most(section: ConntrackSection, cores: int) -> int:
    per_core = MAX_PER_CORE if section.max_per_core is None else section.max_per_core
    if per_core <= 0:
        return 0
    return max(per_core * cores, MIN if section.min is None else section.min)
