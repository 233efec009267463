"""Whatever happens to Services, the allocators hold exactly what the stored ones show, and no two share anything."""

import asyncio
from collections import Counter
from copy import deepcopy
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sampan.apiserver.registry.allocators import Allocators, Holding
from sampan.apiserver.strategy import RequestInfo
from sampan.machinery.errors import StatusError
from sampan.machinery.objects import Object
from support.registry_harness import FakeServices, Registry

NAMES = ("a", "b", "c", "d")
CIDR, PORTS = "10.0.0.0/29", (30000, 30004)
KINDS = st.sampled_from(["ClusterIP", "NodePort", "LoadBalancer", "ExternalName", "Headless"])
ADDRESSES = st.sampled_from(["", "10.0.0.2", "10.0.0.3"])
NODE_PORTS = st.sampled_from([0, 30001, 30002])


def spec_of(kind: str, address: str, node_port: int, *, local: bool) -> Object:
    spec: Object = {"type": kind, "ports": [{"port": 80}], "selector": {"app": "x"}}
    if kind == "Headless":
        return {**spec, "type": "ClusterIP", "clusterIP": "None"}
    if kind == "ExternalName":
        return {**spec, "externalName": "example.com"}
    if address:
        spec["clusterIP"] = address
    if node_port and kind != "ClusterIP":
        spec["ports"][0]["nodePort"] = node_port
    if local and kind == "LoadBalancer":
        spec["externalTrafficPolicy"] = "Local"
    return spec


class ServiceMachine(RuleBasedStateMachine):
    """Clients that create, replace and delete in a range that is nearly too small."""

    def __init__(self) -> None:
        super().__init__()
        self.services = FakeServices(allocators=Allocators(CIDR, PORTS))
        self.registry = Registry("services", self.services)
        self.stored: dict[str, Object] = {}

    @rule(
        name=st.sampled_from(NAMES),
        kind=KINDS,
        address=ADDRESSES,
        port=NODE_PORTS,
        dry=st.booleans(),
        local=st.booleans(),
    )
    def write(self, name: str, kind: str, address: str, port: int, *, dry: bool, local: bool) -> None:
        """A PUT that knows nothing of the old object."""
        self._write(name, spec_of(kind, address, port, local=local), dry_run=dry)

    @rule(name=st.sampled_from(NAMES), kind=KINDS)
    def change_type(self, name: str, kind: str) -> None:
        """An edit of the type alone, which sends everything else back."""
        if name in self.stored and kind != "Headless":
            spec = {**deepcopy(self.stored[name]["spec"]), "type": kind}
            if kind == "ExternalName":
                spec["externalName"] = "example.com"
            self._write(name, spec, dry_run=False)

    @rule(name=st.sampled_from(NAMES))
    def delete(self, name: str) -> None:
        if name in self.stored:
            self.registry.delete(self.stored.pop(name))

    @rule()
    def restart(self) -> None:
        self.services.allocators = Allocators(CIDR, PORTS)
        self.services.allocators.restore(self.stored.values())

    @invariant()
    def nothing_is_lost_or_shared(self) -> None:
        holdings = [Holding.of(service) for service in self.stored.values()]
        counts = Counter(one for held in holdings for one in (*held.addresses, *held.ports))
        assert all(count == 1 for count in counts.values())
        allocators = self.services.allocators
        assert len(allocators.addresses["IPv4"]) == sum(len(held.addresses) for held in holdings)
        assert len(allocators.node_ports) == sum(len(held.ports) for held in holdings)

    def _write(self, name: str, spec: Object, *, dry_run: bool) -> None:
        obj = {"metadata": {"name": name, "namespace": "default"}, "spec": spec}
        try:
            if name in self.stored:
                written = self.registry.update(self.stored[name], obj, dry_run=dry_run)
            else:
                written = self.registry.create(obj, dry_run=dry_run)
        except StatusError:
            return
        if not dry_run:
            self.stored[name] = written


ServiceMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestServices: Any = ServiceMachine.TestCase


def test_writes_at_the_same_time_share_nothing() -> None:
    """Fifty creations interleave at every await; each gets its own address and port."""
    registry = Registry("services")
    created: list[Object] = []

    async def create(number: int) -> None:
        obj: Object = {"metadata": {"name": f"s{number}"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}
        registry.strategy.defaults(obj)
        registry.strategy.prepare_create(obj, RequestInfo("create"))
        await asyncio.sleep(0)
        await registry.strategy.admit_create(obj, RequestInfo("create"))
        created.append(obj)

    async def all_of_them() -> None:
        await asyncio.gather(*map(create, range(50)))

    asyncio.run(all_of_them())
    assert len({service["spec"]["clusterIP"] for service in created}) == 50
    assert len({service["spec"]["ports"][0]["nodePort"] for service in created}) == 50
