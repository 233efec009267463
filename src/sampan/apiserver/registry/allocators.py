"""Who has which ClusterIP and node port: the one place that gives them out, so that nothing is given out twice.

The allocators hold no state of their own on disk: they are derived from the stored Services when the server starts
(`restore`), and a reservation made for a request is released again when that request fails. Reservation is a single
synchronous step, before the Service is stored. The Service strategy decides what to reserve (`service_allocation.py`).
"""

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from sampan.apiserver.registry.pool import Pool, PoolFull, static_band
from sampan.machinery.objects import Object

HEADLESS = "None"
_V6_MOST = 1 << 16


class AllocationError(Exception):
    """A place cannot be had; the message is upstream's."""


class AddressAllocator:
    """The addresses of one service range, without its network and, for IPv4, its broadcast address."""

    def __init__(self, cidr: str) -> None:
        self.network: IPv4Network | IPv6Network = ip_network(cidr)
        self.family = f"IPv{self.network.version}"
        self._first = int(self.network.network_address) + 1
        total = self.network.num_addresses
        usable = total - 2 if self.network.version == 4 else min(total, _V6_MOST) - 1
        self._pool = Pool(usable, static_band(min(total, _V6_MOST * 16), 16, 256, 16))

    def __len__(self) -> int:
        return len(self._pool)

    def __contains__(self, address: str) -> bool:
        place = self._place(address)
        return place is not None and place in self._pool

    def allocate(self, address: str) -> None:
        """Reserve a chosen address. Raises AllocationError."""
        place = self._place(address)
        if place is None:
            raise AllocationError(f"provided IP is not in the valid range. The range of valid IPs is {self.network}")
        if not self._pool.take(place):
            raise AllocationError("provided IP is already allocated")

    def allocate_next(self) -> str:
        """Reserve any free address. Raises AllocationError."""
        try:
            return str(self.network[self._pool.take_any() + 1])
        except PoolFull:
            raise AllocationError("range is full") from None

    def release(self, address: str) -> None:
        place = self._place(address)
        if place is not None:
            self._pool.release(place)

    def _place(self, address: str) -> int | None:
        found = ip_address(address)
        if found.version != self.network.version:
            return None
        place = int(found) - self._first
        return place if 0 <= place < self._pool.size else None


class PortAllocator:
    """Node ports, whatever their protocol."""

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last = first, last
        size = last - first + 1
        self._pool = Pool(size, static_band(size, 16, 128, 32))

    def __len__(self) -> int:
        return len(self._pool)

    def __contains__(self, port: int) -> bool:
        return port - self.first in self._pool

    def allocate(self, port: int) -> None:
        """Reserve a chosen port. Raises AllocationError."""
        if not self.first <= port <= self.last:
            valid = f"{self.first}-{self.last}"
            raise AllocationError(f"provided port is not in the valid range. The range of valid ports is {valid}")
        if not self._pool.take(port - self.first):
            raise AllocationError("provided port is already allocated")

    def allocate_next(self) -> int:
        """Reserve any free port. Raises AllocationError."""
        try:
            return self.first + self._pool.take_any()
        except PoolFull:
            raise AllocationError("range is full") from None

    def release(self, port: int) -> None:
        self._pool.release(port - self.first)


class Allocators:
    """All allocators of a cluster; the first service range's family is the default one."""

    def __init__(self, service_cidr: str, node_port_range: tuple[int, int]) -> None:
        ranges = [AddressAllocator(cidr.strip()) for cidr in service_cidr.split(",")]
        self.addresses: Mapping[str, AddressAllocator] = {one.family: one for one in ranges}
        self.default_family = ranges[0].family
        self.node_ports = PortAllocator(*node_port_range)

    def restore(self, services: Iterable[Object]) -> None:
        """Take what stored Services hold. Anything outside the ranges (which may have changed) is left alone."""
        for service in services:
            held = Holding.of(service)
            for address in held.addresses:
                self._quietly_take(address)
            for port in held.ports:
                if self.node_ports.first <= port <= self.node_ports.last and port not in self.node_ports:
                    self.node_ports.allocate(port)

    def release(self, held: "Holding") -> None:
        """Give back addresses and ports."""
        for address in held.addresses:
            for allocator in self.addresses.values():
                allocator.release(address)
        for port in held.ports:
            self.node_ports.release(port)

    def _quietly_take(self, address: str) -> None:
        for allocator in self.addresses.values():
            try:
                allocator.allocate(address)
            except AllocationError:
                continue


class Holding:
    """The addresses and ports that a Service occupies, or that a request has reserved."""

    __slots__ = ("addresses", "ports")

    def __init__(self, addresses: Iterable[str] = (), ports: Iterable[int] = ()) -> None:
        self.addresses = set(addresses)
        self.ports = set(ports)

    @classmethod
    def of(cls, service: Object) -> "Holding":
        """What a stored Service holds."""
        spec = service.get("spec") or {}
        addresses = {*(spec.get("clusterIPs") or ()), spec.get("clusterIP") or HEADLESS} - {HEADLESS, ""}
        ports = [port.get("nodePort") for port in spec.get("ports") or ()] + [spec.get("healthCheckNodePort")]
        return cls(addresses, (int(port) for port in ports if port))

    def minus(self, other: "Holding") -> "Holding":
        return Holding(self.addresses - other.addresses, self.ports - other.ports)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Holding) and (self.addresses, self.ports) == (other.addresses, other.ports)

    def __hash__(self) -> int:
        return hash((frozenset(self.addresses), frozenset(self.ports)))
