"""How many connections each service port has had, from the counters that `iptables-save -c` shows. Pure.

A nat rule sees the first packet of a connection only, so the packets of an endpoint's DNAT rule are its connections;
bytes cannot be had. The kernel's counters go with the chain of an endpoint that goes, and begin anew when it is written
anew: what was read before is kept here, so that a total never falls.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from sampan.proxy.state import ServicePortName

_SPREAD = re.compile(r"\[\d+:\d+\] -A (KUBE-SV[CL]-\S+) .*?-j (KUBE-SEP-\S+)")
_ENDPOINT = re.compile(r"\[([1-9]\d*):\d+\] -A (KUBE-SEP-\S+) .*-j DNAT ")


class Tally:
    """Sums of one process' readings."""

    def __init__(self) -> None:
        self._owners: dict[str, ServicePortName] = {}
        self._last: dict[str, int] = {}
        self._past: Counter[ServicePortName] = Counter()

    def read(self, lines: Iterable[str], services: Mapping[str, ServicePortName]) -> dict[ServicePortName, int]:
        """Take in the nat table's lines; `services` names whose each KUBE-SVC and KUBE-SVL chain is."""
        owners: dict[str, ServicePortName] = {}
        counts: dict[str, int] = {}
        for line in lines:
            if found := _ENDPOINT.match(line):
                counts[found[2]] = int(found[1])
            elif (found := _SPREAD.match(line)) and found[1] in services:
                owners[found[2]] = services[found[1]]
        self._keep(counts)
        self._owners = {chain: owners[chain] for chain in counts if chain in owners}
        self._last = {chain: counts[chain] for chain in self._owners}
        known = set(services.values())
        self._past = Counter({name: count for name, count in self._past.items() if name in known})
        total = self._past.copy()
        for chain, name in self._owners.items():
            total[name] += counts[chain]
        return dict(total)

    def _keep(self, counts: Mapping[str, int]) -> None:
        """Put aside what chains had that are gone or have begun anew."""
        for chain, last in self._last.items():
            if counts.get(chain, 0) < last:
                self._past[self._owners[chain]] += last
