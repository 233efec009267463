"""The whole of cluster DNS against a real API server: pods, readiness, live reload, the end."""

import asyncio
import contextlib
import re
import socket
import subprocess
import sys

import dns.asyncquery
import dns.message
import dns.rcode
import pytest

from sampan.client.resources import ENDPOINT_SLICES, PODS, SERVICE_ACCOUNTS, SERVICES
from sampan.client.rest import Client
from sampan.dns.main import DNSOptions, run
from sampan.http.client import HTTPClient
from support.apiserver import running_apiserver

HOST = "127.0.0.1"
ZONE = "default.svc.cluster.local"
SECONDS = 10


def free_ports(count):
    """Ports that were free a moment ago, for UDP and TCP."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((HOST, 0))
        return [each.getsockname()[1] for each in sockets]


class World:
    """An API server, a client of it, and DNS that is configured by `corefile`."""

    def __init__(self, directory):
        self.dns, self.health, self.ready, self.metrics = free_ports(4)
        self.file = directory / "Corefile"
        self.is_ready = asyncio.Event()

    def write(self, *lines, lameduck="0s"):
        self.file.write_text(
            f"""
            .:{self.dns} {{
                health {HOST}:{self.health} {{
                    lameduck {lameduck}
                }}
                ready {HOST}:{self.ready}
                prometheus {HOST}:{self.metrics}
                reload 2s 1s
                {chr(10).join(lines)}
            }}
            """
        )

    @contextlib.asynccontextmanager
    async def running(self):
        async with running_apiserver() as config:
            self.client = Client(config)
            options = DNSOptions(connect=lambda: config, file=self.file, listen=(HOST,))
            self.task = asyncio.create_task(run(options, self.is_ready.set))
            try:
                async with asyncio.timeout(SECONDS):
                    await self.is_ready.wait()
                yield self
            finally:
                self.task.cancel()
                self.task.cancel()
                await asyncio.gather(self.task, return_exceptions=True)
                await self.client.close()

    async def ask(self, name, tcp=False):
        query = dns.message.make_query(name, "A")
        ask = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
        return await ask(query, HOST, port=self.dns, timeout=SECONDS)

    async def addresses(self, name, tcp=False):
        return [rdata.to_text() for rrset in (await self.ask(name, tcp)).answer for rdata in rrset]

    async def until(self, condition):
        async with asyncio.timeout(SECONDS):
            while not await condition():
                await asyncio.sleep(0.001)

    async def get(self, port, path):
        client = HTTPClient(f"http://{HOST}:{port}")
        try:
            return await client.request("GET", path)
        finally:
            await client.close()


@pytest.fixture
def world(tmp_path):
    found = World(tmp_path)
    found.write("kubernetes cluster.local {\npods verified\n}")
    return found


def in_world(world, scenario):
    async def whole():
        async with world.running():
            await scenario()

    asyncio.run(whole())


def service(name, **spec):
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80, "name": "http"}], **spec}}


def test_a_pods_name_exists_while_the_pod_does(world):
    async def scenario():
        name = "10-244-0-5.default.pod.cluster.local"
        pod = {"metadata": {"name": "web"}, "spec": {"containers": [{"name": "c", "image": "host"}]}}

        async def answers(expected):
            return await world.addresses(name) == expected

        assert await answers([])
        await world.client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default"}}, "default")
        await world.client.create(PODS, pod, "default")
        status = {"status": {"phase": "Running", "podIP": "10.244.0.5", "podIPs": [{"ip": "10.244.0.5"}]}}
        await world.client.patch(PODS, "web", status, "default", subresource="status")
        await world.until(lambda: answers(["10.244.0.5"]))
        await world.client.delete(PODS, "web", "default", grace_period=0)
        await world.until(lambda: answers([]))

    in_world(world, scenario)


def test_what_kubelet_and_prometheus_ask_is_answered(world):
    async def scenario():
        await world.ask(f"kubernetes.{ZONE}")
        assert (await world.get(world.health, "/health")).body == b"OK"
        assert (await world.get(world.ready, "/ready")).status == 200
        numbers = (await world.get(world.metrics, "/metrics")).body.decode()
        assert "coredns_dns_requests_total{" in numbers
        assert 'coredns_dns_responses_total{plugin="kubernetes",rcode="NOERROR"' in numbers
        assert "coredns_dns_request_duration_seconds_bucket{" in numbers
        assert 'coredns_kubernetes_rest_client_requests_total{code="200",host="' in numbers
        assert 'coredns_kubernetes_rest_client_request_duration_seconds_count{host="' in numbers
        assert "process_start_time_seconds " in numbers
        assert re.search(r'^coredns_reload_version_info\{hash="sha512",value="[0-9a-f]{128}"\} 1$', numbers, re.M)
        assert (await world.get(world.metrics, "/")).status == 404

    in_world(world, scenario)


def test_its_own_health_is_asked_for_and_the_time_of_that_is_shown(world, monkeypatch):
    monkeypatch.setattr("sampan.dns.adminserver.CHECK_SECONDS", 0.01)

    async def scenario():
        async def checked():
            numbers = (await world.get(world.metrics, "/metrics")).body.decode()
            return int(re.search(r"^coredns_health_request_duration_seconds_count (\d+)", numbers, re.M)[1]) > 1

        await world.until(checked)
        assert "coredns_health_request_failures_total 0" in (await world.get(world.metrics, "/metrics")).body.decode()

    in_world(world, scenario)


def test_the_change_of_a_headless_services_endpoints_is_timed(world):
    async def scenario():
        await world.client.create(SERVICES, service("peers", clusterIP="None"), "default")
        stamp = {"endpoints.kubernetes.io/last-change-trigger-time": "2024-05-06T07:08:09.123456789Z"}
        slice_ = {
            "metadata": {
                "name": "peers-1",
                "labels": {"kubernetes.io/service-name": "peers"},
                "annotations": stamp,
            },
            "addressType": "IPv4", "endpoints": [{"addresses": ["10.244.0.1"]}], "ports": [{"port": 80}],
        }  # fmt: skip
        await world.client.create(ENDPOINT_SLICES, slice_, "default")

        async def timed():
            numbers = (await world.get(world.metrics, "/metrics")).body.decode()
            name = "coredns_kubernetes_dns_programming_duration_seconds_count"
            return f'{name}{{service_kind="headless_with_selector"}} 1\n' in numbers

        await world.until(timed)

    in_world(world, scenario)


def test_a_changed_corefile_is_served_and_a_broken_one_is_not(world, caplog, monkeypatch):
    monkeypatch.setattr("sampan.dns.plugins.reload._LEAST_INTERVAL", 0.01)

    def write(body):
        world.write("reload 10ms", "kubernetes cluster.local", body)
        world.file.write_text(world.file.read_text().replace("reload 2s 1s", ""))

    async def scenario():
        async def foo(expected):
            return await world.addresses("foo.example") == expected

        assert await foo(["10.9.9.1"])
        write("hosts {\n10.9.9.2 foo.example\n}")
        await world.until(lambda: foo(["10.9.9.2"]))
        write("hosts {\n10.9.9.3 foo.example\nnonsense\n}")

        async def failed():
            return "reload failed" in caplog.text

        await world.until(failed)
        assert await foo(["10.9.9.2"])
        assert "Corefile:13: hosts: unknown option 'nonsense'" in caplog.text
        numbers = (await world.get(world.metrics, "/metrics")).body.decode()
        assert "coredns_reload_failed_total 1" in numbers

    write("hosts {\n10.9.9.1 foo.example\n}")
    in_world(world, scenario)


def test_a_changed_import_is_served_live_and_variables_stay(world, monkeypatch, caplog):
    monkeypatch.setattr("sampan.dns.plugins.reload._LEAST_INTERVAL", 0.01)
    monkeypatch.setenv("SHOP", "shop.example")
    custom = world.file.parent / "custom"
    custom.mkdir()

    def write(address):
        (custom / "shop.override").write_text(f"hosts {{\n{address} {{$SHOP}}\nfallthrough\n}}\n")

    async def scenario():
        async def shop(*expected):
            return await world.addresses("shop.example") == list(expected)

        assert await shop("10.9.9.1")
        write("10.9.9.2")
        await world.until(lambda: shop("10.9.9.2"))
        (custom / "shop.override").write_text("hosts {\n10.9.9.3 {$SHOP}\nnonsense\n}\n")

        async def failed():
            return "reload failed: custom/shop.override:3: hosts: unknown option 'nonsense'" in caplog.text

        await world.until(failed)
        assert await shop("10.9.9.2")
        (custom / "shop.override").unlink()
        await world.until(shop)
        numbers = (await world.get(world.metrics, "/metrics")).body.decode()
        assert "coredns_reload_failed_total 1" in numbers
        assert numbers.count("coredns_reload_version_info{") == 1

    write("10.9.9.1")
    world.write("reload 10ms", "kubernetes cluster.local", "import custom/*.override", "whoami")
    world.file.write_text(world.file.read_text().replace("reload 2s 1s", ""))
    in_world(world, scenario)


def test_a_reload_that_finds_its_port_taken_changes_nothing(world, monkeypatch, caplog):
    monkeypatch.setattr("sampan.dns.plugins.reload._LEAST_INTERVAL", 0.01)
    world.write("kubernetes cluster.local", "cache")
    text = world.file.read_text().replace("reload 2s 1s", "reload 10ms")
    world.file.write_text(text)

    async def scenario():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind((HOST, 0))
            port = taken.getsockname()[1]
            world.file.write_text(f"{text}\na.example:{port} {{\nwhoami\ncache\n}}\n")

            async def failed():
                return "reload failed" in caplog.text

            await world.until(failed)
        assert await world.addresses(f"kubernetes.{ZONE}")
        numbers = (await world.get(world.metrics, "/metrics")).body.decode()
        shown = {line.partition("{")[2] for line in numbers.splitlines() if line.startswith("coredns_plugin_enabled{")}
        assert f'name="cache",server="dns://{HOST}:{world.dns}",view="",zone="."}} 1' in shown
        assert not [line for line in shown if "a.example" in line]
        assert numbers.count("coredns_cache_entries{") == 2

    in_world(world, scenario)


def test_a_reload_may_move_a_listener(world, monkeypatch):
    monkeypatch.setattr("sampan.dns.plugins.reload._LEAST_INTERVAL", 0.01)
    world.write("kubernetes cluster.local")
    text = world.file.read_text().replace("reload 2s 1s", "reload 10ms")
    world.file.write_text(text)

    async def scenario():
        before, (world.dns,) = world.dns, free_ports(1)
        world.file.write_text(text.replace(f":{before}", f":{world.dns}"))

        async def moved():
            try:
                return bool(await world.addresses(f"kubernetes.{ZONE}", tcp=True))
            except OSError:
                return False

        await world.until(moved)

    in_world(world, scenario)


def test_when_told_to_end_it_answers_on_for_the_lame_duck_period_but_is_not_ready(world):
    world.write("kubernetes cluster.local", lameduck="10s")

    async def scenario():
        world.task.cancel()

        async def unready():
            return (await world.get(world.ready, "/ready")).status == 503

        await world.until(unready)
        assert (await world.get(world.health, "/health")).status == 200
        assert await world.addresses(f"kubernetes.{ZONE}")
        assert not world.task.done()

    in_world(world, scenario)


def test_it_is_not_ready_and_does_not_listen_before_it_knows_the_cluster(world):
    async def scenario():
        from sampan.client.config import Config

        options = DNSOptions(connect=lambda: Config(f"http://{HOST}:9"), file=world.file, listen=(HOST,))
        task = asyncio.create_task(run(options))

        async def unready():
            try:
                return (await world.get(world.ready, "/ready")).status == 503
            except OSError:
                return False

        await world.until(unready)
        with socket.socket() as probe:
            assert probe.connect_ex((HOST, world.dns)) != 0
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario())


def test_starting_imports_neither_dnspython_nor_the_large_api_types():
    heavy = ("dns", "sampan.api.core_v1", "yaml", "cryptography", "email", "http.client", "urllib.request")
    code = f"import sys; import sampan.dns.main; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
