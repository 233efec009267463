"""Binding, eviction, and what reaches into pods through the agent of their node."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sampan.apiserver.proxying.html import rewrite_links
from sampan.apiserver.proxying.pods import choose_container
from sampan.apiserver.proxying.targets import Target, is_proxyable, parse_target, service_address
from sampan.http.messages import Response
from sampan.http.server import Request, serve
from sampan.machinery.errors import BadRequest, NotFound, ServiceUnavailable
from support.api import API, served
from support.apiserver import make_pki

NAMESPACE = "/api/v1/namespaces/default"
PODS = f"{NAMESPACE}/pods"


async def make_pod(api: API, name: str = "p", **spec: Any) -> dict[str, Any]:
    await api.post(f"{NAMESPACE}/serviceaccounts", {"metadata": {"name": "default"}})
    body = {"metadata": {"name": name, "labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    body["spec"] |= spec
    made = await api.post(PODS, body)
    assert made.status == 201, made.body
    return dict(made.json)


def binding(node: str) -> dict[str, Any]:
    return {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": node}}


@pytest.mark.parametrize("path", [f"{PODS}/p/binding", f"{NAMESPACE}/bindings"])
@served
async def test_a_pod_is_bound_once(api: API, path: str) -> None:
    await make_pod(api)
    assert (await api.post(path, binding("node-1"))).status == 201
    pod = (await api.get(f"{PODS}/p")).json
    assert pod["spec"]["nodeName"] == "node-1"
    conditions = {one["type"]: one["status"] for one in pod["status"]["conditions"]}
    assert conditions["PodScheduled"] == "True"
    again = await api.post(path, binding("node-2"))
    assert again.status == 409
    assert 'pod p is already assigned to node "node-1"' in again.json["message"]


@served
async def test_a_binding_without_a_node_is_invalid(api: API) -> None:
    await make_pod(api)
    assert (await api.post(f"{PODS}/p/binding", {"target": {}})).status == 422
    assert (await api.post(f"{PODS}/p/binding", {"target": {"kind": "Pod", "name": "x"}})).status == 422


async def running_with_budget(api: API, allowed: int) -> None:
    await make_pod(api, nodeName="node-1")
    running = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    await api.patch(f"{PODS}/p/status", {"status": running})

    budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}
    await api.post(budgets, {"metadata": {"name": "b"}, "spec": spec})
    status = {
        "observedGeneration": 1,
        "disruptionsAllowed": allowed,
        "currentHealthy": 1,
        "desiredHealthy": 1,
        "expectedPods": 1,
    }
    assert (await api.patch(f"{budgets}/b/status", {"status": status})).status == 200


@served
async def test_an_eviction_that_the_budget_forbids_is_one_too_many(api: API) -> None:
    await running_with_budget(api, allowed=0)
    answer = await api.post(f"{PODS}/p/eviction", {"metadata": {"name": "p"}})
    assert (answer.status, answer.json["reason"]) == (429, "TooManyRequests")
    assert answer.json["details"]["causes"][0]["reason"] == "DisruptionBudget"
    assert "deletionTimestamp" not in (await api.get(f"{PODS}/p")).json["metadata"]


@served
async def test_an_eviction_spends_the_budget_and_says_why_the_pod_goes(api: API) -> None:
    await running_with_budget(api, allowed=1)
    assert (await api.post(f"{PODS}/p/eviction", {"metadata": {"name": "p"}})).status == 201
    pod = (await api.get(f"{PODS}/p")).json
    assert pod["metadata"]["deletionTimestamp"]
    conditions = {one["type"]: one for one in pod["status"]["conditions"]}
    assert conditions["DisruptionTarget"]["reason"] == "EvictionByEvictionAPI"
    budget = (await api.get("/apis/policy/v1/namespaces/default/poddisruptionbudgets/b")).json
    assert budget["status"]["disruptionsAllowed"] == 0
    assert list(budget["status"]["disruptedPods"]) == ["p"]


async def agent(request: Request) -> Response | None:
    """A stand-in for the node agent: shows what it was asked."""
    assert request.peer_cert
    if request.path.startswith(("/exec/", "/portForward/")):
        reader, writer = await request.upgrade({"Connection": "Upgrade", "Upgrade": request.headers["upgrade"]})
        writer.write(request.raw_path.encode() + b"\n" + (await reader.readline()).upper())
        writer.close()
        return None
    if request.query.flag("follow"):
        stream = await request.stream(200, {"Content-Type": "text/plain"})
        for line in (b"one\n", b"two\n"):
            await stream.write(line)
        await stream.close()
        return None
    return Response(200, request.raw_path.encode(), "text/plain")


@asynccontextmanager
async def node_with_agent(api: API) -> AsyncIterator[None]:
    """A node object whose agent listens on loopback."""
    pki = make_pki()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pki / "node-node-1-server.crt", pki / "node-node-1-server.key")
    tls.load_verify_locations(pki / "ca.crt")
    tls.verify_mode = ssl.CERT_REQUIRED
    sock = socket.create_server(("127.0.0.1", 0))
    server = await serve(agent, sock=sock, ssl=tls)
    await api.post("/api/v1/nodes", {"metadata": {"name": "node-1"}})
    status = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": server.port}},
    }
    assert (await api.patch("/api/v1/nodes/node-1/status", {"status": status})).status == 200
    try:
        yield
    finally:
        await server.close()


@served
async def test_logs_come_from_the_agent_of_the_pods_node(api: API) -> None:
    async with node_with_agent(api):
        await make_pod(api, nodeName="node-1")
        answer = await api.get(f"{PODS}/p/log?tailLines=5&timestamps=true")
        assert answer.body == b"/containerLogs/default/p/c?timestamps=true&tailLines=5"
        followed = await api.get(f"{PODS}/p/log?follow=true")
        assert followed.body == b"one\ntwo\n"


@served
async def test_a_pod_without_a_node_or_container_has_no_logs(api: API) -> None:
    await make_pod(api)
    assert (await api.get(f"{PODS}/p/log")).json["message"] == "pod p does not have a host assigned"
    await make_pod(api, "q", nodeName="node-1")
    answer = await api.get(f"{PODS}/q/log?container=x")
    assert (answer.status, answer.json["message"]) == (400, "container x is not valid for pod q")


UPGRADES = {
    "exec": (
        "p/exec?command=ls&command=-l&stdout=true&tty=true",
        "/exec/default/p/c?output=1&tty=1&command=ls&command=-l",
    ),
    "portforward": ("p/portforward", "/portForward/default/p"),
}


@pytest.mark.parametrize("case", UPGRADES)
@served
async def test_streams_are_tunnelled_to_the_agent(api: API, case: str) -> None:
    path, expected = UPGRADES[case]
    async with node_with_agent(api):
        await make_pod(api, nodeName="node-1")
        answer = await api.client.upgrade("POST", f"{PODS}/{path}", {"Upgrade": "SPDY/3.1"})
        assert answer.status == 101, answer.body
        assert answer.headers["upgrade"] == "SPDY/3.1"
        assert answer.streams is not None
        reader, writer = answer.streams
        writer.write(b"hello\n")
        async with asyncio.timeout(5):
            assert await reader.read(-1) == f"{expected}\nHELLO\n".encode()
        writer.close()


@served
async def test_an_agent_that_cannot_be_reached_is_unavailable(api: API) -> None:
    async with node_with_agent(api):
        await make_pod(api, nodeName="node-1")
    answer = await api.get(f"{PODS}/p/log")
    assert (answer.status, answer.json["kind"]) == (503, "Status")


async def backend(request: Request) -> Response:
    if request.path == "/page":
        return Response(200, b'<a href="/next">x</a> <a href="//cdn/x">y</a> text /plain', "text/html")
    return Response(200, f"{request.method} {request.raw_path} ".encode() + (await request.read()), "text/plain")


def own_address() -> str:
    """An address of this machine that is not loopback; connecting a datagram socket sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback")
        return str(probe.getsockname()[0])


@served
async def test_pods_are_proxied_with_method_path_query_and_body(api: API) -> None:
    address = own_address()
    server = await serve(backend, host=address, port=0)
    try:
        await make_pod(api, nodeName="node-1")
        await api.patch(f"{PODS}/p/status", {"status": {"phase": "Running", "podIP": address}})
        root = f"{PODS}/p:{server.port}/proxy"
        assert (await api.get(f"{root}/a%20b/c?d=e&d=f")).body == b"GET /a%20b/c?d=e&d=f "
        assert (await api.post(f"{root}/x", b"body")).body == b"POST /x body"
        assert (await api.delete(f"{root}/")).body == b"DELETE / "
        redirect = await api.get(root)
        assert (redirect.status, redirect.headers["location"]) == (301, f"{root}/")
        page = (await api.get(f"{root}/page")).body.decode()
        assert page == f'<a href="{root}/next">x</a> <a href="//cdn/x">y</a> text /plain'
    finally:
        await server.close()


NOT_PROXYABLE = (
    "127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "::ffff:7f00:1", "169.254.169.254", "::ffff:169.254.169.254",
    "fe80::1", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "2002:7f00:1::",
)  # fmt: skip


@pytest.mark.parametrize("address", NOT_PROXYABLE)
@served
async def test_nothing_is_passed_on_to_the_servers_own_addresses(api: API, address: str) -> None:
    """Who may write a pod's status must not reach what listens beside the API server."""
    await make_pod(api, nodeName="node-1")
    patched = await api.patch(f"{PODS}/p/status", {"status": {"phase": "Running", "podIP": address}})
    port = api.config.server.rpartition(":")[2]
    answer = await api.get(f"{PODS}/https:p:{port}/proxy/livez")
    assert answer.status == 400
    assert patched.status == 422 or answer.json["message"] == "address not allowed"


def test_names_and_zones_are_no_addresses() -> None:
    assert [
        one for one in (*NOT_PROXYABLE, "localhost", "fe80::1%lo", "::1%1", "10.1", "", "1") if is_proxyable(one)
    ] == []
    assert all(map(is_proxyable, ("10.0.0.1", "8.8.8.8", "fd00::1", "::ffff:10.0.0.1", "2001:db8::1")))


@served
async def test_an_external_name_is_not_proxied(api: API) -> None:
    spec = {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": 10257}]}
    assert (
        await api.post("/api/v1/namespaces/default/services", {"metadata": {"name": "s"}, "spec": spec})
    ).status == 201
    answer = await api.get("/api/v1/namespaces/default/services/s:10257/proxy/metrics")
    assert (answer.status, answer.json["message"]) == (404, 'endpoints "s" not found')


@pytest.mark.parametrize("address", ["::ffff:127.0.0.1", "::ffff:169.254.1.1", "127.0.0.1"])
@served
async def test_endpoints_have_no_loopback_addresses_in_any_form(api: API, address: str) -> None:
    subsets = [{"addresses": [{"ip": address}], "ports": [{"port": 10257}]}]
    answer = await api.post("/api/v1/namespaces/default/endpoints", {"metadata": {"name": "s"}, "subsets": subsets})
    assert answer.status == 422
    assert "may not be in the" in answer.json["message"]


class Stored:
    """The objects that a Service is resolved with."""

    def __init__(self, endpoints: dict[str, Any] | None) -> None:
        ports = [{"name": "web", "port": 80, "targetPort": 8080}, {"name": "admin", "port": 81}]
        self._objects = {"services": {"metadata": {"name": "s"}, "spec": {"ports": ports}}, "endpoints": endpoints}

    async def get(self, resource: str, namespace: str, name: str) -> Any:
        return self._objects[resource] if name == "s" else None


READY = {"ip": "10.0.0.1"}
SUBSET = {
    "addresses": [READY],
    "notReadyAddresses": [{"ip": "10.0.0.2"}],
    "ports": [{"name": "web", "port": 8080}, {"name": "admin", "port": 9090}],
}
SERVICE_TARGETS = {"s": 8080, "s:web": 8080, "s:80": 8080, "s:admin": 9090, "http:s:81": 9090, "https:s:": 8080}


@pytest.mark.parametrize("text", SERVICE_TARGETS)
def test_a_service_is_reached_at_a_ready_endpoints_target_port(text: str) -> None:
    stored: Any = Stored({"subsets": [SUBSET]})
    found = asyncio.run(service_address(stored, "default", parse_target(text)))
    assert found == ("10.0.0.1", SERVICE_TARGETS[text])


UNREACHABLE = {
    "no endpoints": ("s", None, NotFound),
    "only loopback": ("s", {"subsets": [{**SUBSET, "addresses": [{"ip": "127.0.0.1"}]}]}, ServiceUnavailable),
    "none ready": ("s", {"subsets": [{**SUBSET, "addresses": []}]}, ServiceUnavailable),
    "no such port": ("s:99", {"subsets": [SUBSET]}, ServiceUnavailable),
    "no such service": ("t", None, NotFound),
}


@pytest.mark.parametrize("case", UNREACHABLE)
def test_a_service_without_a_ready_endpoint_says_so(case: str) -> None:
    text, endpoints, error = UNREACHABLE[case]
    stored: Any = Stored(endpoints)
    with pytest.raises(error):
        asyncio.run(service_address(stored, "default", parse_target(text)))


TARGETS = {
    "web": Target("http", "web", ""),
    "web:80": Target("http", "web", "80"),
    "https:web:": Target("https", "web", ""),
    "https:web:443": Target("https", "web", "443"),
    "http:web": Target("http", "web", ""),
    ":web:80": Target("http", "web", "80"),
}


@pytest.mark.parametrize("text", TARGETS)
def test_a_proxy_name_has_scheme_name_and_port(text: str) -> None:
    assert parse_target(text) == TARGETS[text]


@pytest.mark.parametrize("text", ["", ":", "a:b:c:d", "ftp:web:21", "http::80"])
def test_another_proxy_name_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        parse_target(text)


def test_links_are_rewritten_only_where_they_are_links() -> None:
    body = b'<img src=\'/a.png\' alt=\'/b\'><form action=/c><a href="d"><p>href="/e"</p><a href="/p/f">'
    expected = b'<img src=\'/p/a.png\' alt=\'/b\'><form action=/p/c><a href="d"><p>href="/e"</p><a href="/p/f">'
    assert rewrite_links(body, "/p") == expected


def test_the_container_must_be_named_when_there_are_several() -> None:
    pod = {
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]},
    }
    assert choose_container(pod, "i") == "i"
    with pytest.raises(BadRequest, match=r"choose one of: \[a b\] or one of the init containers: \[i\]"):
        choose_container(pod, "")
