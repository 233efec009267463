"""From an address back to the Services and endpoints that have it.

Virtual addresses are few and always indexed. Endpoint addresses may be hundreds of thousands and are hardly ever asked
for, so that their index is made at the first such question and kept current from then on.
"""

import ipaddress
from collections.abc import Iterable, Mapping

from sampan.dns.objects import EndpointSlice

Key = tuple[str, str]
Slices = Mapping[Key, Mapping[str, EndpointSlice]]


class ReverseIndex:
    def __init__(self) -> None:
        self._services: dict[str, list[Key]] = {}
        self._endpoints: dict[str, list[Key]] | None = None

    def services(self, address: str) -> list[Key]:
        """The Services with this virtual address (more than one only while one takes over from another)."""
        return self._services.get(address, [])

    def endpoint_owners(self, address: str, slices: Slices) -> list[Key]:
        """The Services that have an endpoint at this address; `slices` are all there are."""
        if self._endpoints is None:
            self._endpoints = {}
            for owner, owned in slices.items():
                for slice_ in owned.values():
                    self.add_slice(owner, slice_)
        return list(dict.fromkeys(self._endpoints.get(address, ())))

    def add_service(self, key: Key, addresses: Iterable[str]) -> None:
        for address in addresses:
            self._services.setdefault(address, []).append(key)

    def remove_service(self, key: Key, addresses: Iterable[str]) -> None:
        for address in addresses:
            _remove(self._services, address, key)

    def add_slice(self, owner: Key, slice_: EndpointSlice) -> None:
        if self._endpoints is not None:
            for found in slice_.ready_addresses():
                self._endpoints.setdefault(found.address, []).append(owner)

    def remove_slice(self, owner: Key, slice_: EndpointSlice) -> None:
        if self._endpoints is not None:
            for found in slice_.ready_addresses():
                _remove(self._endpoints, found.address, owner)


def address_of(name: str) -> str:
    """The address that a name in `in-addr.arpa` or `ip6.arpa` stands for; the empty string if it stands for none."""
    labels = name.split(".")
    try:
        if labels[-2] == "in-addr" and len(labels) == 6:
            return str(ipaddress.IPv4Address(".".join(labels[3::-1])))
        if labels[-2] == "ip6" and len(labels) == 34:
            return str(ipaddress.IPv6Address(bytes.fromhex("".join(labels[31::-1]))))
    except ValueError:
        return ""
    return ""


def _remove(index: dict[str, list[Key]], address: str, key: Key) -> None:
    keys = index.get(address)
    if keys and key in keys:
        keys.remove(key)
        if not keys:
            del index[address]
