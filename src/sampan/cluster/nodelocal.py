"""A node's own DNS address: made for as long as `sampan dns --node-local` runs.

The address is link-local and the same on every node, so that all pods can be told the same one and each reaches the
server of its own node, one hop away. The server may be killed at any moment: the address then stays, questions are
refused at once instead of being lost, and the next server adopts it. Questions are not tracked by conntrack: nothing
translates them, and an entry for each of them, kept for half a minute, would crowd out what needs one.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sampan.kernel import nft, rtnetlink
from sampan.kernel.rtnetlink import RouteSocket

LOOPBACK = 1
"""The index of lo, which every kernel has; packets for its addresses are taken from any interface."""
TABLE = "sampan-nodelocaldns"

_ABSENT = f"table ip {TABLE}\ndelete table ip {TABLE}\n"
_UNTRACKED = """\
table ip {table} {{
    chain prerouting {{
        type filter hook prerouting priority raw;
        meta l4proto {{ udp, tcp }} ip daddr {address} th dport {port} notrack
        meta l4proto {{ udp, tcp }} ip saddr {address} th sport {port} notrack
    }}
    chain output {{
        type filter hook output priority raw;
        meta l4proto {{ udp, tcp }} ip daddr {address} th dport {port} notrack
        meta l4proto {{ udp, tcp }} ip saddr {address} th sport {port} notrack
    }}
}}
"""

log = logging.getLogger(__name__)


@asynccontextmanager
async def address(wanted: str, port: int) -> AsyncIterator[None]:
    """The IPv4 address exists inside of this, and not after. Raises OSError if it cannot be made."""
    try:
        await _load(_ABSENT + _UNTRACKED.format(table=TABLE, address=wanted, port=port))
        _add(wanted)
        yield
    finally:
        _remove(wanted)
        await _load(_ABSENT)


def _add(wanted: str) -> None:
    """Its scope keeps the kernel from taking it for the source of other packets, when it masquerades them."""
    with RouteSocket() as routes:
        try:
            routes.execute(rtnetlink.add_address(LOOPBACK, f"{wanted}/32", scope=rtnetlink.SCOPE_LINK))
        except FileExistsError:
            log.info("taking over the address %s", wanted)


def _remove(wanted: str) -> None:
    with RouteSocket() as routes:
        try:
            routes.execute(rtnetlink.delete_address(LOOPBACK, f"{wanted}/32"))
        except OSError as error:
            log.warning("the address %s stays: %s", wanted, error)


async def _load(script: str) -> None:
    """Tracking costs, but hinders nothing: names are answered even where it cannot be turned off."""
    try:
        await nft.load(script)
    except (OSError, nft.NftError) as error:
        log.warning("questions are tracked by conntrack: %s", error)
