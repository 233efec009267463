"""Reserving what a Service needs: ClusterIPs, node ports, a health check port. All of it or nothing.

`Reservation` gathers what one request takes, so that a failure later gives it back. Where an error is the client's it
is an Invalid with the field's path, as upstream has it.
"""

from collections.abc import Iterable

from sampan.apiserver.registry.allocators import AllocationError, Allocators, Holding
from sampan.apiserver.registry.service_fields import (
    allocates_node_ports,
    is_headless,
    needs_cluster_ip,
    needs_health_check_port,
)
from sampan.machinery import objects
from sampan.machinery.errors import FieldError, InternalError, Invalid
from sampan.machinery.objects import Object


def reserve(service: Object, old: Object | None, allocators: Allocators) -> Holding:
    """Fill in addresses and ports, reserving those that `old` does not hold yet; what was reserved.

    Raises StatusError, and then holds nothing.
    """
    reservation = _Reservation(service, Holding.of(old) if old else Holding(), allocators)
    try:
        reservation.addresses()
        reservation.node_ports()
        reservation.health_check_port()
    except Exception:
        allocators.release(reservation.taken)
        raise
    return reservation.taken


class _Reservation:
    """One request's way through the allocators."""

    def __init__(self, service: Object, held: Holding, allocators: Allocators) -> None:
        self.spec: Object = service["spec"]
        self.taken = Holding()
        self._service = service
        self._held = held
        self._allocators = allocators

    def addresses(self) -> None:
        """One address per family, unless headless."""
        if not needs_cluster_ip(self.spec) or is_headless(self.spec):
            return
        asked: list[str] = list(self.spec.get("clusterIPs") or ())
        asked += [""] * (len(self.spec["ipFamilies"]) - len(asked))
        pairs = zip(self.spec["ipFamilies"], asked, strict=False)
        self.spec["clusterIPs"] = [self._address(family, address) for family, address in pairs]
        self.spec["clusterIP"] = self.spec["clusterIPs"][0]

    def node_ports(self) -> None:
        """A number for each port that needs one, and for each that was asked for.

        Ports that share a number but not a protocol share the node port too.
        """
        by_port = {port.get("port"): port["nodePort"] for port in self._ports() if port.get("nodePort")}
        for index, port in enumerate(self._ports()):
            if port.get("nodePort"):
                self._chosen_port(port["nodePort"], f"spec.ports[{index}].nodePort")
            elif allocates_node_ports(self.spec):
                port["nodePort"] = by_port.get(port.get("port")) or self._any_port("nodePort")
                by_port[port.get("port")] = port["nodePort"]

    def health_check_port(self) -> None:
        if not needs_health_check_port(self.spec):
            return
        if asked := self.spec.get("healthCheckNodePort"):
            self._chosen_port(asked, "spec.healthCheckNodePort")
        else:
            self.spec["healthCheckNodePort"] = self._any_port("HealthCheck NodePort")

    def _ports(self) -> Iterable[Object]:
        return self.spec.get("ports") or ()

    def _address(self, family: str, address: str) -> str:
        allocator = self._allocators.addresses[family]
        if address in self._held.addresses:
            return address
        try:
            if address:
                allocator.allocate(address)
            else:
                address = allocator.allocate_next()
        except AllocationError as why:
            raise self._address_error(address, why) from why
        self.taken.addresses.add(address)
        return address

    def _address_error(self, address: str, why: AllocationError) -> Exception:
        if not address:
            return InternalError(f"Internal error occurred: failed to allocate a serviceIP: {why}")
        message = f"failed to allocate IP {address}: {why}"
        return self._invalid(FieldError.invalid("spec.clusterIPs", self.spec["clusterIPs"], message))

    def _chosen_port(self, port: int, path: str) -> None:
        if port in self._held.ports or port in self.taken.ports:
            return
        try:
            self._allocators.node_ports.allocate(port)
        except AllocationError as why:
            raise self._invalid(FieldError.invalid(path, port, str(why))) from why
        self.taken.ports.add(port)

    def _any_port(self, what: str) -> int:
        try:
            port = self._allocators.node_ports.allocate_next()
        except AllocationError as why:
            raise InternalError(f"Internal error occurred: failed to allocate a {what}: {why}") from why
        self.taken.ports.add(port)
        return port

    def _invalid(self, error: FieldError) -> Invalid:
        return Invalid.of("", "Service", objects.name(self._service), [error])
