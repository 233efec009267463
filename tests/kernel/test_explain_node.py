"""What an explanation reads back from a node's kernel, in every mode and both families."""

from collections.abc import Iterator

import pytest

from sampan.proxy.backends.registry import BACKENDS
from sampan.proxy.explain.collect import tracked
from sampan.proxy.explain.facts import ENDPOINTS, REFUSED, Destination, Rule, place
from sampan.proxy.explain.readers import READERS
from sampan.proxy.explain.routing import canonical
from support.proxyatwork import FAMILIES, Proxy, at_work
from support.proxycases import LOCAL, Case, address
from support.proxyworld import ADDRESSES, PORT, World, world

pytestmark = pytest.mark.kernel

OTHER_PROCESS = "the endpoints of a listener are known to its process only"


@pytest.fixture(scope="module")
def the_world() -> Iterator[World]:
    with world() as made:
        yield made


@pytest.fixture(params=list(BACKENDS))
def proxy(request: pytest.FixtureRequest, the_world: World) -> Iterator[Proxy]:
    with at_work(request.param, the_world) as made:
        yield made


def read(proxy: Proxy, case: Case, family: int, outside: bool) -> Rule:
    ip, port = address(case, family)
    destination = Destination(ip=ip, protocol=case.protocol, port=port)
    return proxy.world.on_node(lambda: READERS[proxy.mode](destination, outside))  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("destination", ["cluster-ip", "node-port", "external-ip"])
def test_a_rule_is_read_back_as_it_was_made(proxy: Proxy, destination: str, family: int) -> None:
    """Its endpoints, or that there are none; from outside, under the Local policy, those of this node."""
    case = Case("shown", "outside", destination, spec={"external_traffic_policy": "Local"})
    proxy.show(case, family)
    outside = destination != "cluster-ip"
    rule = read(proxy, case, family, outside)
    assert rule.outcome == ENDPOINTS
    assert rule.lines
    if rule.targets is not None:
        there = LOCAL if outside else (*LOCAL, "remote")
        assert {canonical(each) for each in rule.targets} == {place(ADDRESSES[who][family], PORT) for who in there}
    else:
        assert proxy.mode == "userspace", OTHER_PROCESS
    proxy.show(Case("empty", "outside", destination, endpoints=()), family)
    assert read(proxy, case, family, outside).outcome == REFUSED


@pytest.mark.parametrize("family", FAMILIES)
def test_connections_are_found_by_their_destination(proxy: Proxy, family: int) -> None:
    case = Case("shown", "pod", "cluster-ip", endpoints=("local-1",))
    proxy.show(case, family)
    with proxy.world.connect("pod", address(case, family)) as sock:
        proxy.world.ask_again(sock)
        ip, port = address(case, family)
        asked = Destination(ip=ip, protocol="TCP", port=port)
        elsewhere = Destination(ip=ip, protocol="TCP", port=port + 1)
        found = proxy.world.inside("node", lambda: tracked([asked, elsewhere]))
    assert {each.client for each in found} == {ADDRESSES["pod"][family]}
    assert {each.destination for each in found} == {asked}
    if proxy.mode != "userspace":
        assert {each.backend for each in found} == {place(ADDRESSES["local-1"][family], PORT)}
