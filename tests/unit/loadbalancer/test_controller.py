"""The controller against a real API server: addresses, marks and events come and go with the Services."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from sampan.client.resources import EVENTS, SERVICES
from sampan.client.rest import Client
from sampan.loadbalancer.controller import ControllerOptions, run
from sampan.loadbalancer.objects import DEFAULT_CLASS, FINALIZER, FROM_POOL
from sampan.loadbalancer.pools import read_pools
from sampan.machinery.errors import NotFound
from support.apiserver import running_apiserver

POOLS = read_pools([{"name": "lan", "addresses": ["10.2.2.200-10.2.2.201"]}])


def service(name: str, *, annotations: dict[str, str] | None = None, ports=None, **spec):
    metadata = {"name": name, "namespace": "default", "annotations": annotations or {}}
    return {"metadata": metadata, "spec": {"type": "LoadBalancer", "ports": ports or [{"port": 80}], **spec}}


def ips(obj) -> list[str]:
    return [one["ip"] for one in (obj["status"].get("loadBalancer") or {}).get("ingress") or ()]


class World:
    def __init__(self, config) -> None:
        self.config, self.client = config, Client(config)
        self._controllers: list[asyncio.Task[None]] = []

    async def start(self, pools=POOLS, **options) -> asyncio.Task[None]:
        ready = asyncio.Event()
        made = ControllerOptions(config=self.config, pools=pools, **options)
        self._controllers.append(asyncio.ensure_future(run(made, ready.set)))
        await ready.wait()
        return self._controllers[-1]

    async def stop(self) -> None:
        for task in self._controllers:
            task.cancel()
        for result in await asyncio.gather(*self._controllers, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
        self._controllers.clear()

    async def create(self, obj):
        return await self.client.create(SERVICES, obj)

    async def get(self, name: str):
        return await self.client.get(SERVICES, name, "default")

    async def patch(self, name: str, patch, subresource=None):
        return await self.client.patch(SERVICES, name, patch, "default", subresource=subresource)

    async def until(self, probe: Callable[[], Awaitable[object]], what: str):
        deadline = time.monotonic() + 15
        while not (found := await probe()):
            assert time.monotonic() < deadline, f"still not so: {what}"
            await asyncio.sleep(0.01)
        return found

    async def has(self, name: str, *expected: str):
        """Wait until the Service has exactly these addresses."""

        async def probe():
            found = await self.get(name)
            return found if ips(found) == list(expected) else None

        return await self.until(probe, f"{name} has {expected}")

    async def told(self, name: str, reason: str, text: str = ""):
        async def probe():
            listed = await self.client.list(EVENTS, "default")
            return [
                one
                for one in listed.items
                if one["involvedObject"]["name"] == name and one["reason"] == reason and text in one["message"]
            ]

        return await self.until(probe, f"event {reason} of {name} with {text!r}")


@asynccontextmanager
async def world():
    async with asyncio.timeout(60), running_apiserver() as config:
        made = World(config)
        try:
            yield made
        finally:
            await made.stop()
            await made.client.close()


def scenario(test):
    """Run a coroutine function of a World as a test."""

    async def main() -> None:
        async with world() as made:
            await test(made)

    def run_it() -> None:
        asyncio.run(main())

    run_it.__name__, run_it.__doc__ = test.__name__, test.__doc__
    return run_it


@scenario
async def test_a_service_gets_address_status_marks_and_events(world: World) -> None:
    await world.start()
    await world.create(service("web", ports=[{"name": "a", "port": 53}, {"name": "b", "port": 53, "protocol": "UDP"}]))
    found = await world.has("web", "10.2.2.200")
    ports = [{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]
    assert found["status"]["loadBalancer"]["ingress"] == [{"ip": "10.2.2.200", "ipMode": "VIP", "ports": ports}]
    assert found["metadata"]["finalizers"] == [FINALIZER]
    assert found["metadata"]["annotations"][FROM_POOL] == "lan"
    for reason in ("EnsuringLoadBalancer", "EnsuredLoadBalancer"):
        await world.told("web", reason)
    await world.told("web", "IPAllocated", 'Assigned IP ["10.2.2.200"]')


@scenario
async def test_changed_ports_are_shown(world: World) -> None:
    await world.start()
    await world.create(service("web"))
    await world.has("web", "10.2.2.200")
    await world.patch("web", {"spec": {"ports": [{"port": 8080}]}})

    async def shown():
        found = await world.get("web")
        return found["status"]["loadBalancer"]["ingress"][0]["ports"] == [{"port": 8080, "protocol": "TCP"}]

    await world.until(shown, "the new port")


@scenario
async def test_who_gets_none_is_told_why_and_gets_what_is_freed(world: World) -> None:
    await world.start()
    for name in ("a", "b"):
        await world.create(service(name))
        await world.told(name, "IPAllocated")
    await world.create(service("c"))
    await world.told("c", "AllocationFailed", 'no available IPv4 addresses in pool "lan"')
    await world.client.delete(SERVICES, "a", "default")
    await world.has("c", "10.2.2.200")


@scenario
async def test_a_deleted_service_is_gone(world: World) -> None:
    await world.start()
    await world.create(service("web"))
    await world.has("web", "10.2.2.200")
    await world.client.delete(SERVICES, "web", "default")

    async def gone():
        try:
            await world.get("web")
        except NotFound:
            return True
        return False

    await world.until(gone, "the Service is gone")
    await world.told("web", "DeletedLoadBalancer")


@pytest.mark.parametrize("kind", ["ClusterIP", "NodePort"])
def test_another_type_gives_everything_back(kind: str) -> None:
    @scenario
    async def run_it(world: World) -> None:
        await world.start()
        await world.create(service("web"))
        await world.has("web", "10.2.2.200")
        await world.patch("web", {"spec": {"type": kind}})
        await world.has("web")

        async def unmarked():
            meta = (await world.get("web"))["metadata"]
            return not meta.get("finalizers") and FROM_POOL not in meta.get("annotations", {})

        await world.until(unmarked, "no finalizer and no annotation")
        await world.create(service("other"))
        await world.has("other", "10.2.2.200")

    run_it()


@scenario
async def test_a_change_of_type_while_nobody_acts_is_made_good_at_the_next_start(world: World) -> None:
    await world.start()
    await world.create(service("web"))
    await world.has("web", "10.2.2.200")
    await world.stop()
    await world.patch("web", {"spec": {"type": "ClusterIP"}})
    await world.start()
    await world.has("web")


@scenario
async def test_addresses_survive_restarts(world: World) -> None:
    await world.start()
    for name in ("a", "b"):
        await world.create(service(name))
        await world.told(name, "IPAllocated")
    await world.client.delete(SERVICES, "a", "default")
    await world.stop()
    await world.create(service("c"))
    await world.start()
    await world.has("c", "10.2.2.200")
    await world.has("b", "10.2.2.201")


@scenario
async def test_of_two_with_one_address_the_newer_gets_another_and_an_event(world: World) -> None:
    """As when an earlier leader's last write comes late."""
    for name in ("a-new", "z-old"):
        await world.create(service(name))
    older = sorted([await world.get(name) for name in ("a-new", "z-old")], key=_age)[0]["metadata"]["name"]
    newer = ({"a-new", "z-old"} - {older}).pop()
    for name in (older, newer):
        await world.patch(name, {"status": {"loadBalancer": {"ingress": [{"ip": "10.2.2.201"}]}}}, "status")
    await world.start()
    await world.has(newer, "10.2.2.200")
    await world.has(older, "10.2.2.201")
    await world.told(newer, "ClearAssignment", f'in use by "default/{older}"')


def _age(obj) -> tuple[str, str]:
    return obj["metadata"]["creationTimestamp"], obj["metadata"]["uid"]


@scenario
async def test_a_status_written_by_others_is_put_right(world: World) -> None:
    await world.start()
    await world.create(service("web"))
    await world.has("web", "10.2.2.200")
    await world.patch("web", {"status": {"loadBalancer": {"ingress": [{"ip": "39.98.21.187"}]}}}, "status")
    await world.has("web", "10.2.2.200")


@scenario
async def test_other_classes_are_left_alone_and_their_addresses_too(world: World) -> None:
    theirs = await world.create(service("theirs", loadBalancerClass="example.com/other"))
    await world.patch("theirs", {"status": {"loadBalancer": {"ingress": [{"ip": "10.2.2.200"}]}}}, "status")
    await world.start()
    await world.create(service("ours", loadBalancerClass=DEFAULT_CLASS))
    await world.has("ours", "10.2.2.201")
    untouched = (await world.get("theirs"))["metadata"]
    assert untouched.get("finalizers") == theirs["metadata"].get("finalizers") is None


@scenario
async def test_external_ips_of_another_service_take_no_address_away(world: World) -> None:
    """Whoever may write Services could else move everybody's EXTERNAL-IP; a new Service avoids such addresses."""
    await world.start()
    await world.create(service("victim"))
    await world.has("victim", "10.2.2.200")
    await world.create(service("thief", type="ClusterIP", externalIPs=["10.2.2.200"]))
    await world.create(service("next"))
    await world.has("next", "10.2.2.201")
    await world.has("victim", "10.2.2.200")
    await world.stop()
    await world.start()
    await world.create(service("late"))
    await world.told("late", "AllocationFailed", "no available")
    await world.has("victim", "10.2.2.200")


@scenario
async def test_a_service_may_have_its_own_external_ip_as_its_address(world: World) -> None:
    await world.start()
    await world.create(service("own", loadBalancerIP="10.2.2.201", externalIPs=["10.2.2.201"]))
    await world.has("own", "10.2.2.201")


@scenario
async def test_an_address_is_asked_for_in_three_ways_and_can_be_changed(world: World) -> None:
    await world.start()
    await world.create(service("a", loadBalancerIP="10.2.2.201"))
    await world.has("a", "10.2.2.201")
    await world.create(service("b", annotations={"metallb.universe.tf/loadBalancerIPs": "10.2.2.201"}))
    await world.told("b", "AllocationFailed", '"10.2.2.201" is in use by "default/a"')
    await world.patch("b", {"metadata": {"annotations": {"metallb.io/loadBalancerIPs": "10.2.2.200"}}})
    await world.has("b", "10.2.2.200")
    await world.patch("b", {"spec": {"loadBalancerIP": "10.2.2.200"}})
    await world.told("b", "AllocationFailed", "both set")
    await world.has("b")


@scenario
async def test_an_address_is_handed_on_once_it_is_given_up(world: World) -> None:
    await world.start()
    await world.create(service("a", loadBalancerIP="10.2.2.201"))
    await world.has("a", "10.2.2.201")
    await world.create(service("b", loadBalancerIP="10.2.2.201"))
    await world.told("b", "AllocationFailed")
    await world.patch("a", {"spec": {"loadBalancerIP": "10.2.2.200"}})
    await world.has("a", "10.2.2.200")
    await world.has("b", "10.2.2.201")


@scenario
async def test_one_address_is_shared_by_key(world: World) -> None:
    await world.start()
    key = {"metallb.io/allow-shared-ip": "both"}
    await world.create(service("tcp", annotations=key))
    await world.create(service("udp", annotations=key, ports=[{"port": 80, "protocol": "UDP"}]))
    await world.has("tcp", "10.2.2.200")
    await world.has("udp", "10.2.2.200")
    await world.create(service("clash", annotations=key, loadBalancerIP="10.2.2.200"))
    await world.told("clash", "AllocationFailed", 'in use by "default/tcp", which has port 80/TCP already')


@scenario
async def test_of_many_instances_one_acts_and_another_takes_over(world: World) -> None:
    first = await world.start(leader_elect=True, lease_seconds=1.0)
    await world.create(service("a"))
    await world.has("a", "10.2.2.200")
    await world.start(leader_elect=True, lease_seconds=1.0)
    await world.create(service("b"))
    await world.has("b", "10.2.2.201")
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await world.client.delete(SERVICES, "a", "default")
    await world.create(service("c"))
    await world.has("c", "10.2.2.200")


@scenario
async def test_a_burst_of_services_and_kills_gives_no_address_twice(world: World) -> None:
    pools = read_pools([{"name": "lan", "addresses": ["10.2.2.1-10.2.2.60"]}])
    seen: dict[str, str] = {}
    acting = await world.start(pools)
    names = [f"web-{number:02}" for number in range(60)]
    for begin in range(0, 60, 20):
        await asyncio.gather(*(world.create(service(name)) for name in names[begin : begin + 20]))
        acting.cancel()
        await asyncio.gather(acting, return_exceptions=True)
        acting = await world.start(pools)

    async def all_served():
        listed = (await world.client.list(SERVICES, "default")).items
        for one in listed:
            for ip in ips(one):
                assert seen.setdefault(ip, one["metadata"]["name"]) == one["metadata"]["name"]
        return sum(bool(ips(one)) for one in listed) == 60

    await world.until(all_served, "every Service has an address")
    assert len(seen) == 60
