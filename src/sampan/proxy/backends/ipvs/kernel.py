"""Everything of the kernel that one family of this mode touches: virtual servers, sets and kube-ipvs0.

backend.py says when; this module how, and which of what it finds is ours.
"""

import asyncio
import ipaddress
import logging
import shutil
import subprocess
from collections.abc import Iterable

from sampan.kernel import ipvs
from sampan.kernel.ipset import BUSY, Ipset, Member
from sampan.kernel.ipvs import Command, Ipvs, Key, Verb
from sampan.proxy.backends.ipvs import sets
from sampan.proxy.backends.ipvs.device import Device
from sampan.proxy.backends.ipvs.ledger import Delta, Ledger
from sampan.proxy.backends.ipvs.pieces import Entry, VirtualServer
from sampan.proxy.backends.ipvs.plan import Present, Servers

log = logging.getLogger(__name__)

RELEASE_SECONDS = 5.0
"""How long the kernel may take to let go of sets whose rules have been removed."""


def unsupported(scheduler: str, *, load: bool) -> str:
    """Why this kernel cannot do it; empty if it can. Without `load`, modules that are not loaded count as absent."""
    if not ipvs.loaded() and not (load and _load()):
        return "the kernel has no IPVS (module ip_vs)"
    try:
        made = Ipvs()
    except OSError as error:
        return f"IPVS: {error}"
    try:
        if not made.has_scheduler(scheduler):
            return f"the kernel has no IPVS scheduler {scheduler} (module ip_vs_{scheduler})"
    except OSError as error:
        return f"IPVS: {error}"
    finally:
        made.close()
    found = Ipset()
    try:
        found.names()
    except OSError as error:
        return f"the kernel has no IP sets (module ip_set): {error}"
    finally:
        found.close()
    return ""


def _load() -> bool:
    if shutil.which("modprobe"):
        subprocess.run(["modprobe", "-q", "--", "ip_vs"], check=False, capture_output=True)
    return ipvs.loaded()


class Kernel:
    """One family, in the network namespace that the calling thread is in when this is made.

    Virtual servers at addresses in `excluded` CIDRs are ours only where the ledger wants one.
    """

    def __init__(self, family: int, node_ips: Iterable[str], excluded: Iterable[str] = ()) -> None:
        self._family = family
        self._excluded = [ipaddress.ip_network(cidr, strict=False) for cidr in excluded]
        self._node_ips = frozenset(node_ips)
        self.ipvs = Ipvs()
        self.device = Device(family)
        self._sets = Ipset()
        self._schedulers: dict[str, bool] = {}

    def close(self) -> None:
        self.ipvs.close()
        self.device.close()
        self._sets.close()

    # --- what is there

    def difference(self, ledger: Ledger) -> tuple[Delta, Servers]:
        """What to change so that the kernel is as the ledger says, and the virtual servers of ours that it has."""
        entries = self.entries()
        addresses = self.device.addresses()
        wanted = ledger.servers
        servers = Servers(self._servers(addresses, entries, wanted))
        return (
            Delta(
                dict.fromkeys(servers.keys) | wanted,
                ledger.addresses - addresses,
                addresses - ledger.addresses,
                ledger.entries - entries,
                entries - ledger.entries,
            ),
            servers,
        )

    def entries(self) -> set[Entry]:
        """The members of all our sets."""
        names = self._sets.names()
        return {
            Entry(name, member)
            for name in sets.SETS
            if self._name(name) in names
            for member in self._sets.members(self._name(name))
        }

    def _servers(self, addresses: set[str], entries: set[Entry], wanted: Iterable[Key]) -> dict[Key, Present]:
        """Our virtual servers: those at addresses that we hold, at node ports of ours, or where we want one."""
        addresses = addresses | {entry.member.ip for entry in entries if entry.set == sets.ADDRESSES}
        local, claimed = self._node_ips | self.device.local_addresses(), set(wanted)
        ports = {
            (name, entry.member.port) for name in sets.NODE_PORT.values() for entry in entries if entry.set == name
        }

        def is_ours(key: Key) -> bool:
            at_node_port = key.ip in local and (sets.NODE_PORT[key.protocol], key.port) in ports
            return key in claimed or ((key.ip in addresses or at_node_port) and not self._is_excluded(key.ip))

        return {
            key: Present(service, {real: state.weight for real, state in self.ipvs.reals(key).items()})
            for key, service in self.ipvs.services(self._family).items()
            if is_ours(key)
        }

    def _is_excluded(self, ip: str) -> bool:
        return any(ipaddress.ip_address(ip) in network for network in self._excluded)

    def usable(self, server: VirtualServer, default: str) -> VirtualServer:
        """The virtual server, with the default scheduler if the kernel does not have its own."""
        name = server.service.scheduler
        if name not in self._schedulers:
            self._schedulers[name] = name == default or self.ipvs.has_scheduler(name)
            if not self._schedulers[name]:
                log.error("the kernel has no IPVS scheduler %r: %s is used instead", name, default)
        if self._schedulers[name]:
            return server
        return server._replace(service=server.service._replace(scheduler=default))

    def retire(self, *, force: bool) -> set[Key]:
        """Delete our virtual servers, except those with established connections unless `force`; they get no new ones.

        Returns those that are left.
        """
        left = set()
        commands = []
        for key, present in self._servers(self.device.addresses(), self.entries(), ()).items():
            states = self.ipvs.reals(key)
            if force or not any(state.active for state in states.values()):
                commands.append(Command(Verb.DELETE_SERVICE, key))
                continue
            left.add(key)
            commands += [Command(Verb.EDIT_REAL, key, real=real, weight=0) for real in present.weights]
        self.ipvs.execute(commands)
        return left

    # --- sets

    def has_sets(self) -> bool:
        """Whether a proxy of this mode has ever been here, and not been cleaned up."""
        return self._name(sets.ADDRESSES) in self._sets.names()

    def create_sets(self) -> None:
        """Make the sets that are not there."""
        names = self._sets.names()
        for name, kind in sets.SETS.items():
            if self._name(name) not in names:
                self._sets.create(self._name(name), kind, self._family)

    async def destroy_sets(self) -> None:
        """Remove all our sets. Rules that have just been removed may hold them for another moment."""
        deadline = asyncio.get_running_loop().time() + RELEASE_SECONDS
        names = self._sets.names()
        for name in map(self._name, sets.SETS):
            while name in names:
                try:
                    self._sets.destroy(name)
                    break
                except OSError as error:
                    if error.errno != BUSY or asyncio.get_running_loop().time() > deadline:
                        raise
                    await asyncio.sleep(0.02)

    def add(self, entries: Iterable[Entry]) -> None:
        for name, members in _by_set(entries).items():
            self._sets.add(self._name(name), members)

    def delete(self, entries: Iterable[Entry]) -> None:
        for name, members in _by_set(entries).items():
            self._sets.delete(self._name(name), members)

    def _name(self, name: str) -> str:
        return sets.name_of(name, self._family)


def _by_set(entries: Iterable[Entry]) -> dict[str, list[Member]]:
    found: dict[str, list[Member]] = {}
    for name, member in entries:
        found.setdefault(name, []).append(member)
    return found
