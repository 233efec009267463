"""Pools are read from plain data, checked together, and say which addresses they give and to whom."""

from itertools import islice
from typing import Any

import pytest

from sampan.loadbalancer.pools import PoolError, parse_range, read_pools


def pool(**fields: Any):
    [made] = read_pools([fields])
    return made


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("10.2.2.200-10.2.2.250", "10.2.2.200", "10.2.2.250"),
        ("10.2.2.200 - 10.2.2.201", "10.2.2.200", "10.2.2.201"),
        ("10.2.2.192/30", "10.2.2.192", "10.2.2.195"),
        ("10.2.2.7/30", "10.2.2.4", "10.2.2.7"),
        ("10.2.2.7", "10.2.2.7", "10.2.2.7"),
        ("fd00::10-fd00::1f", "fd00::10", "fd00::1f"),
    ],
)
def test_a_range_is_a_cidr_an_address_or_two(text: str, first: str, last: str) -> None:
    assert str(parse_range(text)) == f"{first}-{last}"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([{"addresses": ["10.0.0.9-10.0.0.1"]}], "the first address is behind the last"),
        ([{"addresses": ["10.0.0.1-fd00::1"]}], "expected a CIDR or FIRST-LAST"),
        ([{"addresses": ["ten"]}], "pools[0].addresses[0]"),
        ([{"addresses": []}], "pools[0].addresses: must not be empty"),
        ([{"name": "", "addresses": ["10.0.0.1"]}], "pools[0].name"),
        ([{"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.2"]}], "'default' is used twice"),
        ([{"name": "a", "addresses": ["10.0.0.0/24"]}, {"name": "b", "addresses": ["10.0.0.9"]}], "overlaps"),
        ([{"addresses": ["10.0.0.1"], "colour": "red"}], "colour"),
        (
            [{"addresses": ["10.0.0.1"], "serviceSelectors": [{"matchExpressions": [{"key": "a", "operator": "X"}]}]}],
            "$[0].serviceSelectors[0].matchExpressions[0].operator",
        ),
        ([{"addresses": ["10.0.0.1"], "serviceSelectors": [{"matchExpressions": 3}]}], "matchExpressions"),
        ([{"addresses": ["10.0.0.1"], "serviceSelectors": [{"matchLabel": {"a": "b"}}]}], "unknown field `matchLabel`"),
        ([{"addresses": ["10.0.0.1"], "serviceSelectors": [{"matchLabels": {"a": 3}}]}], "matchLabels"),
        ([{"addresses": ["10.0.0.1"], "name": "a,b"}], "pools[0].name: 'a,b'"),
        ([{"addresses": ["10.0.0.1"], "priority": -1}], "pools[0].priority"),
        ([{"addresses": ["10.0.0.1"], "namespaces": ["A b"]}], "pools[0].namespaces[0]: 'A b'"),
        ([{"addresses": ["fe80::1%eth0-fe80::2%eth0"]}], "expected a CIDR or FIRST-LAST"),
        ("10.0.0.1", "array"),
    ],
)
def test_what_cannot_work_is_refused_with_its_place(document: Any, message: str) -> None:
    with pytest.raises(PoolError) as error:
        read_pools(document)
    assert message in str(error.value)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(PoolError) as error:
        read_pools([{"addresses": ["x"]}, {"name": "b", "addresses": ["y"]}])
    assert len(str(error.value).splitlines()) == 2


def test_a_file_may_hold_the_list_or_an_object_with_it() -> None:
    pools = [{"name": "a", "addresses": ["10.0.0.1"]}]
    assert read_pools(pools) == read_pools({"pools": pools})


def test_addresses_that_old_equipment_mistakes_can_be_left_out() -> None:
    wide = pool(addresses=["10.0.0.254-10.0.1.1"], avoidBuggyIPs=True)
    assert list(wide.of_family(4)) == ["10.0.0.254", "10.0.1.1"]
    assert not wide.contains("10.0.1.0")


def test_an_ipv6_range_may_be_endless() -> None:
    endless = pool(addresses=["fd00::/64"])
    assert list(islice(endless.of_family(6), 2)) == ["fd00::", "fd00::1"]
    assert list(endless.of_family(4)) == []


def test_namespaces_and_selectors_limit_who_may_use_a_pool() -> None:
    limited = pool(addresses=["10.0.0.1"], namespaces=["a"], serviceSelectors=[{"matchLabels": {"tier": "front"}}])
    assert limited.admits("a", {"tier": "front"})
    assert not limited.admits("b", {"tier": "front"})
    assert not limited.admits("a", {})
