"""Addresses are never given twice, outlive a restart, and rest before they are given again."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.node.ipam import AddressPool, NoFreeAddress


def test_addresses_begin_after_the_gateway(tmp_path: Path) -> None:
    pool = AddressPool("10.244.1.0/24", tmp_path)
    assert pool.gateway == "10.244.1.1"
    assert [pool.assign(name) for name in ("a", "b", "a")] == ["10.244.1.2", "10.244.1.3", "10.244.1.2"]
    assert AddressPool("10.244.1.0/24", tmp_path).assign("b") == "10.244.1.3"


def test_a_freed_address_rests_until_all_others_were_used(tmp_path: Path) -> None:
    pool = AddressPool("10.0.0.0/29", tmp_path)
    assert pool.assign("a") == "10.0.0.2"
    pool.free("a")
    assert [pool.assign(name) for name in "bcdef"] == ["10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.2"]
    with pytest.raises(NoFreeAddress, match=r"no free address in 10\.0\.0\.0/29"):
        pool.assign("g")


def test_debris_of_a_killed_assignment_is_no_assignment(tmp_path: Path) -> None:
    (tmp_path / ".10.0.0.2.999").write_text("dead")
    pool = AddressPool("10.0.0.0/29", tmp_path)
    assert pool.assign("a") == "10.0.0.2"
    assert pool.owners() == {"10.0.0.2": "a"}
    assert list(tmp_path.glob(".*")) == []


def test_after_a_restart_addresses_go_on_behind_the_one_given_last(tmp_path: Path) -> None:
    pool = AddressPool("10.0.0.0/28", tmp_path)
    for name in "abc":
        pool.assign(name)
    pool.free("a")
    successor = AddressPool("10.0.0.0/28", tmp_path)
    assert successor.owners() == {"10.0.0.3": "b", "10.0.0.4": "c"}
    assert successor.assign("d") == "10.0.0.5"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.booleans()), max_size=30))
def test_no_two_owners_share_an_address(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, bool]]
) -> None:
    pool = AddressPool("10.0.0.0/28", tmp_path_factory.mktemp("pool"))
    model: dict[str, str] = {}
    for owner, take in steps:
        if take:
            address = pool.assign(owner)
            assert model.setdefault(owner, address) == address
        else:
            pool.free(owner)
            model.pop(owner, None)
        assert len(set(model.values())) == len(model)
        assert pool.owners() == {address: name for name, address in model.items()}
