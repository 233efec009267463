"""Every combination of client, destination, policy, protocol, family and endpoints, with real packets, in each mode."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from sampan.kernel.conntrack import Conntrack
from sampan.proxy.backends.registry import BACKENDS
from support.proxyatwork import Proxy, at_work
from support.proxycases import DROPPED, KEPT, MASQUERADED, REFUSED, address
from support.proxymatrix import (
    ASKED,
    CLIENTS,
    DESTINATIONS,
    POLICIES,
    SHOWN,
    Asked,
    Shown,
    case,
    impossible,
    tells_source,
)
from support.proxyworld import ADDRESSES, World, world

pytestmark = pytest.mark.kernel

TRIES = 40
DROPPED_SECONDS = 0.3
ANSWERED_SECONDS = 10.0
"""Time for a lost packet to be sent again, by the tests or by the kernel (SCTP waits three seconds)."""

tried: set[tuple[str, Shown, Asked]] = set()


@pytest.fixture(scope="module")
def the_world() -> Iterator[World]:
    with world() as made:
        yield made


@pytest.fixture(scope="module", params=list(BACKENDS))
def proxy(request: pytest.FixtureRequest, the_world: World) -> Iterator[Proxy]:
    with at_work(request.param, the_world) as made:
        yield made


@pytest.mark.parametrize("shown", SHOWN, ids=str)
def test_every_client_gets_what_the_rules_of_services_say(proxy: Proxy, shown: Shown) -> None:
    possible = [asked for asked in ASKED if not impossible(proxy.mode, shown, asked)]
    if not possible:
        pytest.skip(impossible(proxy.mode, shown, ASKED[0]))
    proxy.show(case(shown, ASKED[0]), shown.family)
    if shown.protocol == "SCTP":
        proxy.world.inside("node", lambda: forget_associations(shown.family))
    turned_away = [asked for asked in possible if isinstance(case(shown, asked).expect, str)]
    with ThreadPoolExecutor(
        len(ASKED)
    ) as threads:  # waiting for nothing, all together; others not, for round robin's sake
        waiting = {asked: threads.submit(differs, proxy, shown, asked) for asked in turned_away}
        outcomes = {asked: differs(proxy, shown, asked) for asked in possible if asked not in waiting}
        outcomes |= {asked: each.result() for asked, each in waiting.items()}
    wrong = {str(asked): outcome for asked, outcome in outcomes.items() if outcome}
    assert not wrong
    tried.update((proxy.mode, shown, asked) for asked in possible)


def forget_associations(family: int) -> None:
    """For ten seconds after its end, the kernel has a client that takes the same port again go where it went before."""
    with closing(Conntrack()) as tracking:
        tracking.delete(family, list(tracking.flows(family, "SCTP")))


def differs(proxy: Proxy, shown: Shown, asked: Asked) -> str:
    """How the outcome is not as it should be; empty if it is."""
    flow = case(shown, asked)
    seen = outcome(proxy, shown, asked)
    if isinstance(seen, str) or isinstance(flow.expect, str):
        return "" if seen == flow.expect else f"{seen} instead of {flow.expect}"
    if {who for who, _ in seen} != set(flow.expect):
        return f"answered by {sorted(seen)} instead of {flow.expect}"
    sources = {source for _, source in seen}
    client = ADDRESSES[asked.client][shown.family]
    if tells_source(proxy.mode) and (
        (flow.source == KEPT and sources != {client}) or (flow.source == MASQUERADED and client in sources)
    ):
        return f"{flow.source} was expected of {client}, and {sources} were seen"
    return ""


def outcome(proxy: Proxy, shown: Shown, asked: Asked) -> Counter[tuple[str, str]] | str:
    """Who answered and what source they saw, after enough tries to find all that are expected; or how it failed."""
    flow = case(shown, asked)
    target = address(flow, shown.family)
    timeout = DROPPED_SECONDS if flow.expect == DROPPED else ANSWERED_SECONDS
    seen = Counter[tuple[str, str]]()
    try:
        while len({who for who, _ in seen}) < max(1, len(flow.expect)) and seen.total() < TRIES:
            seen[proxy.world.ask(asked.client, target, shown.protocol, timeout)] += 1
    except ConnectionRefusedError:
        return REFUSED
    except TimeoutError:
        return DROPPED
    return seen


def test_every_combination_was_tried_or_has_a_reason(proxy: Proxy, request: pytest.FixtureRequest) -> None:
    """The table is whole: nothing is left out silently, in any mode that this kernel has."""
    if len(request.session.items) < len(SHOWN):
        pytest.skip("only some of the tests were asked for")
    everything = {(proxy.mode, shown, asked) for shown in SHOWN for asked in ASKED}
    missing = {each for each in everything if each not in tried and not impossible(*each)}
    assert not missing
    assert {asked.client for asked in ASKED} == set(CLIENTS)
    assert {asked.destination for asked in ASKED} == set(DESTINATIONS)
    assert {shown.policy for shown in SHOWN} == set(POLICIES)
