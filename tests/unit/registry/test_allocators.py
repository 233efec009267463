"""Nothing is ever given out twice, and what is given back can be given out again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sampan.apiserver.registry.allocators import AddressAllocator, AllocationError, Allocators, PortAllocator
from sampan.apiserver.registry.pool import Pool, PoolFull, static_band

SIZE, STATIC = 20, 5


class PoolMachine(RuleBasedStateMachine):
    """A pool against a plain set."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = Pool(SIZE, STATIC)
        self.model: set[int] = set()

    @rule(place=st.integers(0, SIZE - 1))
    def choose(self, place: int) -> None:
        assert self.pool.take(place) is (place not in self.model)
        self.model.add(place)

    @rule()
    def draw(self) -> None:
        if len(self.model) == SIZE:
            with pytest.raises(PoolFull):
                self.pool.take_any()
            return
        dynamic_left = len(self.model - set(range(STATIC))) < SIZE - STATIC
        place = self.pool.take_any()
        assert place not in self.model
        assert (place >= STATIC) is dynamic_left
        self.model.add(place)

    @rule(place=st.integers(0, SIZE - 1))
    def release(self, place: int) -> None:
        self.pool.release(place)
        self.model.discard(place)

    @invariant()
    def agrees(self) -> None:
        assert {place for place in range(SIZE) if place in self.pool} == self.model
        assert len(self.pool) == len(self.model)


TestPool = PoolMachine.TestCase


@pytest.mark.parametrize(
    ("size", "expected"),
    [(2**20, 256), (4096, 256), (256, 16), (255, 0), (8, 0)],
)
def test_the_static_band_is_a_sixteenth_within_bounds(size: int, expected: int) -> None:
    assert static_band(size, 16, 256, 16) == expected


def test_a_small_range_gives_every_usable_address_once() -> None:
    allocator = AddressAllocator("10.0.0.0/29")
    given_out = {allocator.allocate_next() for _ in range(6)}
    assert given_out == {f"10.0.0.{host}" for host in range(1, 7)}
    with pytest.raises(AllocationError, match="range is full"):
        allocator.allocate_next()


@pytest.mark.parametrize("address", ["10.0.0.0", "10.0.0.7", "10.0.1.1", "fd00::1"])
def test_network_broadcast_and_foreign_addresses_are_out_of_range(address: str) -> None:
    with pytest.raises(AllocationError, match="not in the valid range"):
        AddressAllocator("10.0.0.0/29").allocate(address)


def test_six_works_too() -> None:
    allocator = AddressAllocator("fd00:10:96::/112")
    assert allocator.family == "IPv6"
    allocator.allocate("fd00:10:96::1")
    assert allocator.allocate_next() != "fd00:10:96::1"


@given(st.lists(st.integers(30000, 30063), unique=True))
def test_chosen_ports_are_never_drawn(chosen: list[int]) -> None:
    allocator = PortAllocator(30000, 30063)
    for port in chosen:
        allocator.allocate(port)
    drawn = [allocator.allocate_next() for _ in range(64 - len(chosen))]
    assert sorted([*drawn, *chosen]) == list(range(30000, 30064))


def test_a_restart_remembers_what_stored_services_hold() -> None:
    allocators = Allocators("10.96.0.0/12", (30000, 32767))
    spec = {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "ports": [{"nodePort": 30001}]}
    strange = {"clusterIP": "192.168.0.1", "clusterIPs": ["192.168.0.1"], "ports": [{"nodePort": 1}]}
    allocators.restore([{"spec": spec}, {"spec": strange}, {"spec": {"clusterIP": "None"}}, {"spec": spec}])
    assert "10.96.0.1" in allocators.addresses["IPv4"]
    assert 30001 in allocators.node_ports
    assert (len(allocators.addresses["IPv4"]), len(allocators.node_ports)) == (1, 1)
