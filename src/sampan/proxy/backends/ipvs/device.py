"""kube-ipvs0: a dummy interface that is never up and holds every Service's addresses.

It makes the kernel take packets to these addresses as its own, which is where IPVS waits for them.
"""

from collections.abc import Callable, Iterable

from sampan.kernel.netlink import Request
from sampan.kernel.rtnetlink import RouteSocket, add_address, add_link, delete_address, delete_link

DEVICE = "kube-ipvs0"
_BATCH = 100


class Device:
    """The interface and its addresses of one family, in the calling thread's network namespace."""

    def __init__(self, family: int) -> None:
        self._family = family
        self._routes = RouteSocket()

    def close(self) -> None:
        self._routes.close()

    def ensure(self) -> None:
        """Make the interface if there is none."""
        if not self.exists():
            self._routes.execute(add_link(DEVICE, "dummy", up=False))

    def exists(self) -> bool:
        return self._routes.link(DEVICE) is not None

    def addresses(self) -> set[str]:
        """What the interface holds; nothing if there is no interface."""
        return {ip for ip in self._all() if (":" in ip) == (self._family == 6)}

    def add(self, ips: Iterable[str]) -> None:
        self._change(add_address, ips)

    def not_yet_local(self, ips: Iterable[str]) -> list[str]:
        """Those that the kernel does not take packets for yet: it puts IPv6 addresses, no others, in force later."""
        if self._family != 6:
            return []
        return [ip for ip in ips if not self._routes.is_local(ip)]

    def remove(self, ips: Iterable[str]) -> None:
        self._change(delete_address, ips)

    def delete(self) -> None:
        """Remove our family's addresses, and the interface if no others are left."""
        if not self.exists():
            return
        self.remove(self.addresses())
        if not self._all():
            self._routes.execute(delete_link(DEVICE))

    def local_addresses(self) -> set[str]:
        """All addresses of this namespace, of any interface."""
        return {each.address.partition("/")[0] for each in self._routes.addresses()}

    def _all(self) -> set[str]:
        link = self._routes.link(DEVICE)
        if link is None:
            return set()
        return {each.address.partition("/")[0] for each in self._routes.addresses(link.index)}

    def _change(self, verb: Callable[[int, str], Request], ips: Iterable[str]) -> None:
        bits = 128 if self._family == 6 else 32
        wanted = sorted(ips)
        index = self._routes.index(DEVICE) if wanted else 0
        requests = [verb(index, f"{ip}/{bits}") for ip in wanted]
        for start in range(0, len(requests), _BATCH):
            self._routes.execute(*requests[start : start + _BATCH])
