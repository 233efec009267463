"""Has the kernel take the node's rules: with nft, or with iptables where the kernel has no nftables for IPv4.

The latter are kernels built without it, such as Debian's user-mode Linux. Which one it is turns out at the first rules.
"""

import logging
from collections.abc import Callable, Sequence

from sampan.kernel import iptables
from sampan.kernel.nft import NftError, load
from sampan.node import node_rules, node_rules_iptables
from sampan.node.node_rules import HostPort
from sampan.node.node_rules_iptables import Rules

log = logging.getLogger(__name__)


class NodeFirewall:
    """The rules of one node. Must run inside the node's network namespace."""

    def __init__(self) -> None:
        self._by_iptables: bool | None = None

    async def masquerade(self, pod_cidr: str, direct: Sequence[str], own: Sequence[str] = ()) -> None:
        """See node_rules.masquerade. Raises OSError with the tool's words."""
        await self._apply(
            node_rules.masquerade(pod_cidr, direct, own), lambda: node_rules_iptables.masquerade(pod_cidr, direct, own)
        )

    async def host_ports(self, mappings: Sequence[tuple[HostPort, str]], services: Sequence[str] = ()) -> None:
        """See node_rules.host_ports. Raises OSError with the tool's words."""
        await self._apply(
            node_rules.host_ports(mappings, services), lambda: node_rules_iptables.host_ports(mappings, services)
        )

    async def _apply(self, script: str, rules: Callable[[], Rules]) -> None:
        """All or none of the rules."""
        if self._by_iptables:
            await _by_iptables(rules())
            return
        try:
            await load(script)
        except (NftError, OSError) as refusal:
            if self._by_iptables is not None or iptables.missing(4):
                raise OSError(f"nft refused the node's rules: {refusal}") from refusal
            await self._instead(refusal, rules())
        else:
            self._by_iptables = False

    async def _instead(self, refusal: Exception, rules: Rules) -> None:
        """nft has never worked here; perhaps iptables does."""
        try:
            await _by_iptables(rules)
        except OSError as error:
            raise OSError(f"nft refused the node's rules: {refusal}; {error}") from refusal
        self._by_iptables = True
        why = str(refusal).partition("\n")[0]
        log.warning("the kernel takes no rules from nft, using iptables for the node's own: %s", why)


async def _by_iptables(rules: Rules) -> None:
    try:
        present = {table: await iptables.save(4, table) for table in rules}
        await iptables.restore(4, node_rules_iptables.text(rules, present))
    except iptables.IptablesError as error:
        raise OSError(f"iptables refused the node's rules: {error}") from error
