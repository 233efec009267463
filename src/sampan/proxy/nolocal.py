"""Which Services drop traffic on this node, because a policy is Local and all their endpoints are elsewhere. Pure.

Upstream tells their number as a metric, by family and policy, so that an operator sees who is turned away.
"""

from collections.abc import Iterable, Iterator

from sampan.proxy.state import ServicePort, ServicePortName
from sampan.proxy.tracker import Changes

POLICIES = ("internal", "external")


class NoLocalEndpoints:
    """Kept up to date change by change."""

    def __init__(self, families: Iterable[int]) -> None:
        self._found: dict[tuple[int, str], set[ServicePortName]] = {
            (family, policy): set() for family in families for policy in POLICIES
        }

    def follow(self, family: int, changes: Changes) -> Iterator[tuple[str, int]]:
        """Take changes in; how many Services there are now, by policy."""
        for policy in POLICIES:
            found = self._found[family, policy]
            for name, (_, after) in changes.items():
                (found.add if after and _turns_away(after, policy) else found.discard)(name)
            yield policy, len({(name.namespace, name.name) for name in found})


def _turns_away(port: ServicePort, policy: str) -> bool:
    if not port.has_endpoints:
        return False
    if policy == "internal":
        return port.internal_local and not port.endpoints
    return port.external_local and not port.local_endpoints
