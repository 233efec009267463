"""Who counts as a pod, where an interface tells: the modes of detectLocalMode that need no network of the pods."""

from collections import Counter
from collections.abc import Iterator

import pytest

from sampan.proxy.backends.registry import BACKENDS
from support.proxyatwork import FAMILIES, Proxy, at_work
from support.proxycases import DROPPED, ETP_LOCAL, EVERYWHERE, KEPT, MASQUERADED, SOURCE_LOST, Case, address
from support.proxyworld import ADDRESSES, World, world

pytestmark = pytest.mark.kernel

TRIES = 40
PREFIX, ONE = "v-+", "v-pod"


@pytest.fixture(scope="module")
def the_world() -> Iterator[World]:
    with world() as made:
        yield made


@pytest.fixture(scope="module", params=[(mode, via) for mode in BACKENDS for via in (PREFIX, ONE)], ids="-".join)
def proxy(request: pytest.FixtureRequest, the_world: World) -> Iterator[Proxy]:
    mode, interface = request.param
    with at_work(mode, the_world, pods_interface=interface) as made:
        yield made


CASES = (
    Case("a pod's address is kept", "pod", "cluster-ip", source=KEPT),
    Case("an outsider's is replaced", "outside", "cluster-ip", source=MASQUERADED),
    Case("the node is served", "node", "cluster-ip"),
    Case("Local does not bind pods", "pod", "node-port", ("remote",), endpoints=("remote",), spec=ETP_LOCAL),
    Case("Local binds outsiders", "outside", "node-port", DROPPED, endpoints=("remote",), spec=ETP_LOCAL),
)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_comes_in_by_the_interface_is_a_pods(proxy: Proxy, case: Case, family: int) -> None:
    proxy.show(case, family)
    target = address(case, family)
    if case.expect == DROPPED:
        with pytest.raises(TimeoutError):
            proxy.world.ask(case.client, target, timeout=0.3)
        return
    seen = Counter[tuple[str, str]]()
    while len(seen) < len(case.expect) and seen.total() < TRIES:
        seen[proxy.world.ask(case.client, target)] += 1
    assert {who for who, _ in seen} == set(case.expect or EVERYWHERE)
    client, sources = ADDRESSES[case.client][family], {source for _, source in seen}
    if case.source == KEPT and proxy.mode not in SOURCE_LOST:
        assert sources == {client}
    elif case.source == MASQUERADED:
        assert client not in sources


def test_a_start_over_the_same_rules_writes_none(proxy: Proxy) -> None:
    """What is sent is what the kernel's tools print, also where an interface is matched."""
    if proxy.mode != "iptables":
        pytest.skip("only this mode compares")
    proxy.show(Case("same", "outside", "node-port", spec=ETP_LOCAL))
    proxy.start()
    proxy.show(Case("same", "outside", "node-port", spec=ETP_LOCAL))
    backend = proxy.backends[4]
    assert {each.written for each in backend.rule_counts.values()} == {0}  # type: ignore[attr-defined]
