"""A node's own DNS address is there while its server runs, is taken over after a kill, and leaves nothing."""

import asyncio
import subprocess

import pytest

from sampan.cluster import nodelocal
from sampan.kernel import nft
from sampan.kernel.rtnetlink import SCOPE_LINK, RouteSocket
from support.isolated import isolated

pytestmark = pytest.mark.kernel

ADDRESS = "169.254.20.10"


def addresses() -> list[tuple[str, int]]:
    with RouteSocket() as routes:
        return [(one.address, one.scope) for one in routes.addresses(nodelocal.LOOPBACK)]


def tables() -> str:
    return subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout


@isolated
async def test_the_address_and_its_rules_are_there_meanwhile_and_not_after() -> None:
    async with nodelocal.address(ADDRESS, 53):
        assert (f"{ADDRESS}/32", SCOPE_LINK) in addresses()
        assert f"ip daddr {ADDRESS} th dport 53 notrack" in tables()
    assert ADDRESS not in str(addresses())
    assert nodelocal.TABLE not in tables()


@isolated
async def test_what_a_killed_server_has_left_is_taken_over_and_then_removed() -> None:
    killed = nodelocal.address(ADDRESS, 53)
    await killed.__aenter__()
    async with nodelocal.address(ADDRESS, 53):
        assert str(addresses()).count(ADDRESS) == 1
        assert tables().count("chain prerouting") == 1
    assert ADDRESS not in str(addresses())
    assert nodelocal.TABLE not in tables()


@isolated
async def test_a_server_that_is_cancelled_leaves_nothing() -> None:
    inside = asyncio.Event()

    async def serve() -> None:
        async with nodelocal.address(ADDRESS, 53):
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(serve())
    await inside.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert ADDRESS not in str(addresses())
    assert nodelocal.TABLE not in tables()


@isolated
async def test_without_nft_names_are_answered_all_the_same() -> None:
    async def refuse(script: str) -> None:
        raise nft.NftError("no")

    nodelocal.nft.load = refuse  # type: ignore[assignment]  # in a process of the test's own
    async with nodelocal.address(ADDRESS, 53):
        assert ADDRESS in str(addresses())
    assert ADDRESS not in str(addresses())
