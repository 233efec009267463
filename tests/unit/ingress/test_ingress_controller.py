"""The controller against a real API server, with a stand-in for nginx: what it reads, serves, tells and writes."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from sampan.client.resources import ENDPOINT_SLICES, EVENTS, INGRESS_CLASSES, INGRESSES, SECRETS, SERVICES
from sampan.client.rest import JSON, Client
from sampan.ingress.controller import Controller
from sampan.ingress.feed import Feed
from sampan.ingress.flags import Flags
from sampan.ingress.model import Configuration
from sampan.ingress.nginx import Applied
from sampan.ingress.status import StatusWriter
from sampan.ingress.teller import Teller
from sampan.machinery.errors import AlreadyExists
from support.apiserver import running_apiserver

SECONDS = 10.0
FLAGS = Flags(publish_service="default/front", configmap="default/settings")
PEM = base64.b64encode(b"no certificate").decode()


class FakeNginx:
    """Remembers what it was given; structure that differs counts as a reload."""

    def __init__(self) -> None:
        self.given: list[Configuration] = []
        self.pushed: list[Configuration] = []
        self.may_reload = asyncio.Event()
        self.may_reload.set()

    async def apply(self, configuration: Configuration) -> Applied:
        before = self.given[-1].hosts if self.given else None
        await self.may_reload.wait()
        self.given.append(configuration)
        return Applied(reloaded=before != configuration.hosts)

    async def push(self, configuration: Configuration) -> None:
        self.pushed.append(configuration)

    @property
    def hosts(self) -> list[str]:
        return [host.name for host in self.given[-1].hosts] if self.given else []


class Recording(Client):
    """Notes which Secrets were asked for, and what was accepted for an answer."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.asked: list[tuple[str, str]] = []

    async def list(self, resource: Any, namespace: Any = None, **options: Any) -> Any:  # type: ignore[override]
        self._note(resource, options)
        return await super().list(resource, namespace, **options)

    def watch(self, resource: Any, namespace: Any = None, **options: Any) -> Any:
        self._note(resource, options)
        return super().watch(resource, namespace, **options)

    def _note(self, resource: Any, options: dict[str, Any]) -> None:
        if resource == SECRETS:
            self.asked.append((options.get("field_selector", ""), options.get("accept", JSON)))


class World:
    def __init__(self, client: Recording) -> None:
        self.client, self.nginx = client, FakeNginx()
        self.teller = Teller(client)
        self.controller = Controller(FLAGS, self.nginx, self.teller)  # type: ignore[arg-type]
        self.feed = Feed(client, FLAGS, "", "", self.controller.wake)
        self.writer = StatusWriter(client, self.controller.served, self.feed.addresses)

    async def create(self, resource: Any, name: str, namespace: str = "default", **content: Any) -> None:
        meta = {"name": name} | ({"namespace": namespace} if resource.namespaced else {})
        with suppress(AlreadyExists):
            await self.client.create(resource, {"metadata": meta, **content})

    async def ingress(self, name: str, host: str, *, secret: str = "", service: str = "web") -> None:
        backend = {"service": {"name": service, "port": {"number": 80}}}
        paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
        spec: dict[str, Any] = {"ingressClassName": "nginx", "rules": [{"host": host, "http": {"paths": paths}}]}
        if secret:
            spec["tls"] = [{"hosts": [host], "secretName": secret}]
        await self.create(INGRESSES, name, spec=spec)

    async def status(self, name: str) -> Any:
        found = await self.client.get(INGRESSES, name, "default")
        return found["status"]["loadBalancer"].get("ingress", [])

    async def reasons(self, name: str) -> set[str]:
        found = (await self.client.list(EVENTS)).items
        return {one["reason"] for one in found if one["involvedObject"]["name"] == name}


async def until(holds: Callable[[], Awaitable[Any]], what: str) -> Any:
    async with asyncio.timeout(SECONDS):
        while not (found := await holds()):
            await asyncio.sleep(0.01)
    assert found, what
    return found


@asynccontextmanager
async def world() -> Any:
    async with running_apiserver() as config:
        client = Recording(config)
        made = World(client)
        await made.create(INGRESS_CLASSES, "nginx", spec={"controller": "k8s.io/ingress-nginx"})
        await made.create(SERVICES, "web", spec={"ports": [{"port": 80}]})
        made.teller.lead(True)
        tasks = [
            asyncio.create_task(one) for one in (made.feed.run(), made.controller.run(made.feed), made.writer.run())
        ]
        made.feed.on_address_change(made.writer.wake)
        made.controller.on_served = made.writer.wake
        try:
            async with asyncio.timeout(SECONDS):
                await made.controller.first_applied.wait()
            yield made
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await client.close()


def run(scene: Callable[[World], Awaitable[None]]) -> None:
    async def play() -> None:
        async with world() as made:
            await scene(made)

    asyncio.run(play())


async def served(made: World, *hosts: str) -> None:
    async def all_there() -> bool:
        return set(hosts) <= set(made.nginx.hosts)

    await until(all_there, f"{hosts} in nginx")


def test_changes_that_come_together_reload_once_or_twice() -> None:
    """However many Ingresses come at once."""

    async def scene(made: World) -> None:
        await asyncio.gather(*(made.ingress(f"i{n}", f"h{n}.example.com") for n in range(30)))
        await served(made, *(f"h{n}.example.com" for n in range(30)))
        structures = {tuple(host.name for host in one.hosts) for one in made.nginx.given}
        assert len(structures) < 15

    run(scene)


def test_endpoints_do_not_wait_for_a_reload_that_is_under_way() -> None:
    async def scene(made: World) -> None:
        await made.ingress("one", "one.example.com")
        await served(made, "one.example.com")
        made.nginx.may_reload.clear()
        await made.ingress("two", "two.example.com")
        labels = {"kubernetes.io/service-name": "web"}
        meta = {"name": "web-1", "namespace": "default", "labels": labels}
        endpoint = {"addresses": ["10.1.2.3"], "conditions": {"ready": True}}
        ports = [{"name": "", "port": 8080, "protocol": "TCP"}]
        part = {"metadata": meta, "addressType": "IPv4", "endpoints": [endpoint], "ports": ports}
        await made.client.create(ENDPOINT_SLICES, part)

        async def pushed() -> bool:
            latest = made.nginx.pushed[-1].backends.values() if made.nginx.pushed else ()
            return any(backend.endpoints for backend in latest)

        await until(pushed, "the endpoint")
        assert made.nginx.hosts == ["one.example.com"]
        made.nginx.may_reload.set()
        await served(made, "two.example.com")

    run(scene)


def test_only_secrets_that_ingresses_name_are_read() -> None:
    """Of others nothing but metadata is sent; a named one that comes later, or changes, is read then."""

    async def scene(made: World) -> None:
        tls = {"type": "kubernetes.io/tls", "data": {"tls.crt": PEM, "tls.key": PEM}}
        for name in ("wanted", "private"):
            await made.create(SECRETS, name, **tls)
        await made.ingress("one", "one.example.com", secret="wanted")
        await made.ingress("two", "two.example.com", secret="later")
        await served(made, "one.example.com", "two.example.com")
        assert made.feed.secrets.objects[("default", "later")] is None
        await made.create(SECRETS, "later", **tls)

        async def come() -> bool:
            return made.feed.secrets.objects[("default", "later")] is not None

        await until(come, "the Secret that came later")
        whole = {selector for selector, accept in made.client.asked if "PartialObjectMetadata" not in accept}
        assert whole == {"metadata.name=wanted", "metadata.name=later"}
        assert set(made.feed.secrets.objects) == {("default", "wanted"), ("default", "later")}

    run(scene)


def test_the_status_is_the_services_address_and_is_repaired() -> None:
    async def scene(made: World) -> None:
        await made.ingress("one", "one.example.com")
        await served(made, "one.example.com")
        await made.create(SERVICES, "front", spec={"type": "LoadBalancer", "ports": [{"port": 80}]})
        front = await made.client.get(SERVICES, "front", "default")
        front["status"] = {"loadBalancer": {"ingress": [{"ip": "10.2.2.200"}, {"hostname": "lb.example.com"}]}}
        await made.client.update(SERVICES, front, subresource="status")
        expected = [{"ip": "10.2.2.200"}, {"hostname": "lb.example.com"}]

        async def right() -> bool:
            return bool(await made.status("one") == expected)

        await until(right, "the address")
        patch = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}
        await made.client.patch(INGRESSES, "one", patch, "default", subresource="status")
        await until(right, "the address again")
        await made.writer.clear()

    run(scene)


def test_what_is_wrong_is_told_once_on_the_ingress_that_has_it() -> None:
    async def scene(made: World) -> None:
        await made.ingress("good", "good.example.com")
        await made.ingress("bad", "bad.example.com", service="missing")
        await served(made, "good.example.com")

        async def told() -> bool:
            return "MissingService" in await made.reasons("bad")

        await until(told, "an event")
        assert await made.reasons("good") <= {"Sync", "NoEndpoints"}
        await made.create(SERVICES, "unrelated", spec={"ports": [{"port": 80}]})
        await asyncio.sleep(0)
        events = [one for one in (await made.client.list(EVENTS)).items if one["reason"] == "MissingService"]
        assert [one["count"] for one in events] == [1]

    run(scene)


def test_an_ingress_of_another_class_is_left_alone() -> None:
    async def scene(made: World) -> None:
        await made.create(INGRESS_CLASSES, "other", spec={"controller": "example.com/other"})
        backend = {"service": {"name": "web", "port": {"number": 80}}}
        await made.create(INGRESSES, "foreign", spec={"ingressClassName": "other", "defaultBackend": backend})
        await made.ingress("own", "own.example.com")
        await served(made, "own.example.com")
        assert [one.metadata.name for one in made.controller.served()] == ["own"]
        assert await made.reasons("foreign") == set()

    run(scene)
