"""Tracked connections as the kernel lists them: those that are asked for, whether the kernel can pick them or not."""

from contextlib import closing

import pytest

from sampan.kernel import conntrack
from sampan.kernel.conntrack import ANY, FILTERED_LISTINGS, Address, Conntrack
from support.isolated import isolated
from support.trackedflows import track

pytestmark = pytest.mark.kernel

CLUSTER = {4: "10.96.0.10", 6: "fd00:96::10"}
NODE = {4: "10.2.2.10", 6: "fd00:2::10"}
POD = {4: "10.244.0.7", 6: "fd00:244::7"}
CLIENT = {4: "10.244.0.5", 6: "fd00:244::5"}


def fill(family: int) -> None:
    """Four connections each by UDP and by TCP to two ports of a cluster IP and of the node."""
    addressed = [(ip, port) for ip in (CLUSTER[family], NODE[family]) for port in (53, 30053)]
    track(
        (protocol, (CLIENT[family], 1000 + number), address, (POD[family], 5353))
        for protocol in ("UDP", "TCP")
        for number, address in enumerate(addressed * 4)
    )


def asked(family: int, *addresses: Address) -> list[tuple[str, str, int]]:
    with closing(Conntrack()) as tracking:
        found = {flow.identity: flow for flow in tracking.flows_to(family, "UDP", addresses)}
        return sorted((flow.protocol, flow.destination, flow.destination_port) for flow in found.values())


@pytest.mark.parametrize("filtering", [True, False], ids=["as this kernel is", "as before Linux 5.8"])
@pytest.mark.parametrize("family", [4, 6])
def test_flows_to_an_address_are_exactly_those(family: int, filtering: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One address, a port at any address, several at once, and more than are listed one by one."""
    cluster, node = (CLUSTER[family], 53), (NODE[family], 53)
    many = [(CLUSTER[family], port) for port in range(100, 101 + FILTERED_LISTINGS)]
    if not filtering:
        monkeypatch.setattr(conntrack, "_filter", lambda *_: b"")

    @isolated
    async def scenario() -> None:
        assert asked(family, cluster) == []
        fill(family)
        assert asked(family, cluster) == [("UDP", *cluster)] * 4
        assert asked(family, (CLUSTER[family], 54)) == []
        assert asked(family, (ANY, 53)) == sorted([("UDP", *cluster)] * 4 + [("UDP", *node)] * 4)
        assert asked(family, cluster, (NODE[family], 30053)) == sorted(
            [("UDP", *cluster)] * 4 + [("UDP", NODE[family], 30053)] * 4
        )
        assert asked(family, cluster, *many) == [("UDP", *cluster)] * 4

    scenario()


def test_the_kernel_itself_leaves_out_what_is_not_asked_for() -> None:
    """Of many connections only the few that matter are copied, so that looking for them stays cheap."""

    @isolated
    async def scenario() -> None:
        fill(4)
        with closing(Conntrack()) as tracking:
            listed = list(tracking._listed(4, "UDP", (CLUSTER[4], 53)))
            assert {(flow.destination, flow.destination_port) for flow in listed} == {(CLUSTER[4], 53)}
            assert len(list(tracking.flows(4, "UDP"))) == 16

    scenario()


def test_flows_are_deleted_one_by_one() -> None:
    """Those that are named, and no others; one that is gone already is no error."""

    @isolated
    async def scenario() -> None:
        fill(4)
        with closing(Conntrack()) as tracking:
            found = list(tracking.flows_to(4, "UDP", [(CLUSTER[4], 53)]))
            tracking.delete(4, found)
            tracking.delete(4, found)
            assert list(tracking.flows_to(4, "UDP", [(CLUSTER[4], 53)])) == []
            assert len(list(tracking.flows(4, "UDP"))) == 12
            assert len(list(tracking.flows(4, "TCP"))) == 16

    scenario()
