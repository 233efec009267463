"""Who gets which address: held ones stay, requests are honoured or refused with a reason, nobody shares by accident."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.loadbalancer import allocation
from sampan.loadbalancer.allocation import Assigned, Outcome, Refused, Request, allocate
from sampan.loadbalancer.pools import read_pools

POOLS = read_pools(
    [
        {"name": "default", "addresses": ["10.0.0.1-10.0.0.3", "fd00::1-fd00::3"]},
        {"name": "named", "addresses": ["10.0.1.1-10.0.1.2"], "autoAssign": False},
        {"name": "team", "addresses": ["10.0.2.1"], "namespaces": ["team"]},
    ]
)
HTTP, HTTPS, DNS = ("TCP", 80), ("TCP", 443), ("UDP", 80)


def request(name: str, **fields) -> Request:
    fields = {"ports": frozenset({HTTP}), "created": "2026-01-01T00:00:00Z", **fields}
    return Request(key=f"default/{name}", uid=name, **fields)


def addresses(outcomes: Mapping[str, Outcome]) -> dict[str, tuple[str, ...] | str]:
    return {uid: one.addresses if isinstance(one, Assigned) else one.reason for uid, one in outcomes.items()}


def test_the_lowest_free_addresses_are_given_oldest_first() -> None:
    young, old = request("a", created="2026-01-02T00:00:00Z"), request("b")
    assert addresses(allocate([young, old], POOLS)) == {"a": ("10.0.0.2",), "b": ("10.0.0.1",)}


def test_what_is_held_stays_whatever_comes() -> None:
    held = request("late", created="2026-01-09T00:00:00Z", held=("10.0.0.1",))
    assert addresses(allocate([request("early"), held], POOLS)) == {"late": ("10.0.0.1",), "early": ("10.0.0.2",)}


def test_of_two_that_hold_one_address_the_older_keeps_it() -> None:
    older = request("z", held=("10.0.0.1",))
    newer = request("a", created="2026-01-02T00:00:00Z", held=("10.0.0.1",))
    found = allocate([newer, older], POOLS)
    assert addresses(found) == {"z": ("10.0.0.1",), "a": ("10.0.0.2",)}
    assert 'in use by "default/z"' in found["a"].lost


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"requested": ("10.0.0.3",)}, ("10.0.0.3",)),
        ({"requested": ("10.0.1.2",)}, ("10.0.1.2",)),
        ({"requested": ("10.9.9.9",)}, '"10.9.9.9" is in no address pool'),
        ({"requested": ("10.0.2.1",)}, '"10.0.2.1" is of pool "team", which is not for this service'),
        ({"requested": ("10.0.0.1",), "pool": "named"}, '"10.0.0.1" is not in pool "named"'),
        ({"pool": "named"}, ("10.0.1.1",)),
        ({"pool": "nowhere"}, 'unknown pool "nowhere"'),
        ({"pool": "team"}, 'pool "team" is not for this service'),
        ({"namespace": "team"}, ("10.0.2.1",)),
        ({"families": (6,)}, ("fd00::1",)),
        ({"families": (6, 4)}, ("fd00::1", "10.0.0.1")),
        ({"families": (4, 6), "requested": ("fd00::3",)}, ("10.0.0.1", "fd00::3")),
        ({"families": (4, 6), "pool": "named"}, 'no available IPv6 addresses in pool "named"'),
        ({"families": (4, 6), "pool": "named", "needs_all": False}, ("10.0.1.1",)),
        ({"problem": "nonsense"}, "nonsense"),
        ({"held": ("10.9.9.9",)}, ("10.0.0.1",)),
        ({"held": ("10.0.0.3",), "requested": ("10.0.0.2",)}, ("10.0.0.2",)),
        ({"held": ("10.0.0.3",), "pool": "named"}, ("10.0.1.1",)),
        ({"held": ("10.0.0.3", "fd00::2"), "families": (4,)}, ("10.0.0.3",)),
        ({"held": ("10.0.0.3",), "families": (4, 6)}, ("10.0.0.3", "fd00::1")),
        ({"held": ("rubbish",)}, ("10.0.0.1",)),
    ],
)
def test_one_request_alone(fields, expected) -> None:
    assert addresses(allocate([request("web", **fields)], POOLS)) == {"web": expected}


def test_without_pools_it_says_so() -> None:
    assert addresses(allocate([request("web")], ())) == {"web": "there is no address pool"}


def test_who_is_left_over_is_told_and_gets_the_first_address_that_is_freed() -> None:
    asking = [request(name) for name in "abcd"]
    before = allocate(asking, POOLS)
    assert before["d"] == Refused('no available IPv4 addresses in pool "default"')
    remaining = [replace(each, held=before[each.uid].addresses) for each in asking if each.uid in "ac"]
    after = allocate([*remaining, asking[3]], POOLS)
    assert addresses(after) == {"a": ("10.0.0.1",), "c": ("10.0.0.3",), "d": ("10.0.0.2",)}


SHARING = {"sharing_key": "key", "requested": ("10.0.0.1",)}


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (SHARING, SHARING | {"ports": frozenset({HTTPS})}, ""),
        (SHARING, SHARING | {"ports": frozenset({DNS})}, ""),
        (SHARING, {"sharing_key": "key", "ports": frozenset({HTTPS})}, ""),
        (SHARING, SHARING, "which has port 80/TCP already"),
        (SHARING, SHARING | {"sharing_key": "other", "ports": frozenset({HTTPS})}, "whose sharing key differs"),
        (SHARING, SHARING | {"sharing_key": "", "ports": frozenset({HTTPS})}, "whose sharing key differs"),
        (SHARING | {"backend": "x"}, SHARING | {"backend": "x", "ports": frozenset({HTTPS})}, ""),
        (SHARING, SHARING | {"backend": "x", "ports": frozenset({HTTPS})}, "externalTrafficPolicy"),
        (SHARING | {"backend": "x"}, SHARING | {"backend": "y", "ports": frozenset({HTTPS})}, "externalTrafficPolicy"),
    ],
)
def test_an_address_is_shared_by_key_where_ports_and_policies_allow(first, second, reason: str) -> None:
    found = allocate([request("a", **first), request("b", **second)], POOLS)
    assert addresses(found)["a"] == ("10.0.0.1",)
    if reason:
        assert reason in found["b"].reason
    else:
        assert addresses(found)["b"] == ("10.0.0.1",)


def test_an_address_in_the_status_of_a_service_that_moves_is_given_to_nobody_yet() -> None:
    """The proxies still serve it there: it is free when the status says so."""
    moving = request("a", held=("10.0.0.1",), in_status=("10.0.0.1",), requested=("10.0.0.2",))
    asking = request("b", requested=("10.0.0.1",))
    assert 'in use by "default/a"' in allocate([moving, asking], POOLS)["b"].reason
    moved = replace(moving, held=("10.0.0.2",), in_status=("10.0.0.2",))
    assert addresses(allocate([moved, asking], POOLS))["b"] == ("10.0.0.1",)


def test_addresses_of_services_of_other_classes_are_left_to_them() -> None:
    assert addresses(allocate([request("a")], POOLS, {"10.0.0.1": [("o", "default/other")]})) == {"a": ("10.0.0.2",)}


def test_a_service_that_is_being_deleted_keeps_its_address_to_the_end() -> None:
    ending = request("a", held=("10.0.0.1",), is_terminating=True)
    assert addresses(allocate([ending, request("b")], POOLS)) == {"a": ("10.0.0.1",), "b": ("10.0.0.2",)}


# --- whatever is asked


def some_request(number: int, chance) -> Request:
    address = st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.1.1", "fd00::1", "10.9.9.9"])
    requested = chance.draw(st.lists(address, max_size=1))
    return Request(
        key=f"default/{number}",
        uid=str(number),
        created=chance.draw(st.sampled_from(["1", "2"])),
        families=chance.draw(st.sampled_from([(4,), (6,), (4, 6)])),
        needs_all=chance.draw(st.booleans()),
        requested=tuple(requested),
        pool=chance.draw(st.sampled_from(["", "", "named"])),
        sharing_key=chance.draw(st.sampled_from(["", "k", "l"])),
        ports=frozenset(chance.draw(st.lists(st.sampled_from([HTTP, HTTPS, DNS]), min_size=1, max_size=2))),
        backend=chance.draw(st.sampled_from(["", "x"])),
        held=tuple(chance.draw(st.lists(address, max_size=2))),
        is_terminating=chance.draw(st.integers(0, 9)) == 0,
    )


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_two_services_have_one_address_unless_they_may_share_it(data) -> None:
    asking = [some_request(number, data) for number in range(data.draw(st.integers(1, 8)))]
    found = allocate(asking, POOLS)
    living = [each for each in asking if not each.is_terminating]
    for first in living:
        for second in living:
            if first.uid < second.uid and set(_of(found, first)) & set(_of(found, second)):
                assert first.sharing_key
                assert first.sharing_key == second.sharing_key
                assert not first.ports & second.ports
                assert first.backend == second.backend


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_the_plan_depends_on_no_order_and_stays_when_it_is_made_again(data) -> None:
    """As after a restart: what the statuses say is what is held. What somebody has given up may be added, and soon
    nothing changes any more.
    """
    asking = [some_request(number, data) for number in range(data.draw(st.integers(1, 8)))]
    found = allocate(asking, POOLS)
    assert allocate(data.draw(st.permutations(asking)), POOLS) == found
    for _ in range(len(asking) + 1):
        again = allocate([replace(each, held=_of(found, each), in_status=_of(found, each)) for each in asking], POOLS)
        for each in asking:
            assert set(_of(found, each)) <= set(_of(again, each))
        if addresses(again) == addresses(found):
            return
        found = again
    raise AssertionError("the plan never comes to rest")


def _of(found: Mapping[str, Outcome], each: Request) -> tuple[str, ...]:
    outcome = found[each.uid]
    return outcome.addresses if isinstance(outcome, Assigned) else ()


def test_of_many_that_share_an_address_none_is_compared_with_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may make Services could else keep the controller busy for seconds."""
    compared: list[str] = []
    monkeypatch.setattr(allocation, "_sharing_problem", lambda one, other: compared.append(one.key) or "")
    asked = [
        request(f"s{n:03}", sharing_key="k", ports=frozenset({("TCP", n)}), held=("10.0.0.1",)) for n in range(300)
    ]
    late = request("z", sharing_key="k", ports=frozenset({("TCP", 7)}), requested=("10.0.0.1",))
    outcomes = allocate([*asked, late], POOLS)
    assert sum(isinstance(one, Assigned) and one.addresses == ("10.0.0.1",) for one in outcomes.values()) == 300
    assert compared == ["default/z"]


def test_messages_quote_what_users_wrote_shortly_and_on_one_line() -> None:
    """They become Events and lines of a log; an annotation may have 256 KiB and line ends."""
    long, forged = request("a", pool="x" * 250_000), request("b", pool="p\n2026 INFO forged\0")
    outside = request("c", pool="y" * 250_000, requested=("10.0.0.1",))
    reasons = addresses(allocate([long, forged, outside], POOLS))
    assert all(isinstance(one, str) and len(one) < 200 for one in reasons.values())
    assert reasons["b"] == r'unknown pool "p\n2026 INFO forged\u0000"'
