"""Addresses of the pods of one node: a directory with one file per address in use, named after it.

A file's creation is the assignment (O_EXCL), so two pods never get one address, whoever dies when. The files are read
once, at the start; from then on memory is what is asked. Addresses are given out in turn, so that one just freed rests
as long as possible before it is used again.
"""

import ipaddress
import os
from pathlib import Path


class NoFreeAddress(Exception):
    """Every address of the node's pod CIDR is in use."""


class AddressPool:
    """The addresses of one network below `directory`; the first is the gateway's, the last the broadcast address."""

    def __init__(self, cidr: str, directory: Path) -> None:
        self._network = ipaddress.ip_network(cidr)
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._owners = _read(directory)
        self._addresses = {owner: address for address, owner in self._owners.items()}
        self._next = self._after_newest()

    @property
    def gateway(self) -> str:
        return str(self._network[1])

    def assign(self, owner: str) -> str:
        """The owner's address, the same if it has one. Raises NoFreeAddress."""
        held = self._addresses.get(owner)
        if held is not None:
            return held
        size = self._size
        for step in range(size):
            index = (self._next + step) % size
            address = str(self._network[2 + index])
            if address not in self._owners and self._claim(address, owner):
                self._next = index + 1
                self._owners[address] = owner
                self._addresses[owner] = address
                return address
        raise NoFreeAddress(f"no free address in {self._network}")

    @property
    def _size(self) -> int:
        """How many addresses pods can have."""
        return max(self._network.num_addresses - 3, 0)

    def _after_newest(self) -> int:
        """Where to go on: behind the address that was given last."""
        files = [self._directory / address for address in self._owners]
        newest = max(files, key=lambda file: file.stat().st_mtime_ns, default=None)
        if newest is None or not self._size:
            return 0
        return (int(ipaddress.ip_address(newest.name)) - int(self._network[2]) + 1) % self._size

    def _claim(self, address: str, owner: str) -> bool:
        """Make the address's file, complete from its first moment."""
        partial = self._directory / f".{address}.{os.getpid()}"
        partial.write_text(owner)
        try:
            os.link(partial, self._directory / address)
        except FileExistsError:
            return False
        finally:
            partial.unlink()
        return True

    def owners(self) -> dict[str, str]:
        """Who has which address."""
        return dict(self._owners)

    def address_of(self, owner: str) -> str | None:
        """The owner's address, if it has one."""
        return self._addresses.get(owner)

    def free(self, owner: str) -> None:
        """Take back what the owner has. Repeatable."""
        address = self._addresses.pop(owner, None)
        if address is not None:
            (self._directory / address).unlink(missing_ok=True)
            del self._owners[address]


def _read(directory: Path) -> dict[str, str]:
    """The addresses in use and whose they are; what a killed agent was writing is removed."""
    for partial in directory.glob(".*"):
        partial.unlink()
    return {entry.name: entry.read_text() for entry in directory.iterdir() if entry.name[0].isdigit()}
