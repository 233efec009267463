"""What clients rely on in Endpoints and EndpointSlices: who fills them, with what, and how soon."""

import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from e2e_http import API
from e2e_support import Kubectl, eventually

SLICES = "discovery.k8s.io/v1/endpointslices"
OWN = "endpointslice-controller.k8s.io"
MIRRORED = "endpointslicemirroring-controller.k8s.io"


@pytest.fixture
def api(namespace: Kubectl) -> API:
    return API(namespace)


def slices(api: API, service: str) -> list[Any]:
    return list(api.get(f"{SLICES}?labelSelector=kubernetes.io%2Fservice-name%3D{service}")["items"])


def service(name: str = "web", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], "selector": {"app": name}} | spec}


def pod(name: str, app: str = "web", *, ports: dict[str, int] | None = None, ready: bool = True) -> dict[str, Any]:
    container: dict[str, Any] = {"name": "main", "image": "host", "command": ["sleep", "infinity"]}
    container["ports"] = [{"name": key, "containerPort": port} for key, port in (ports or {}).items()]
    if not ready:
        container["readinessProbe"] = {"exec": {"command": ["false"]}, "periodSeconds": 1}
    return {"metadata": {"name": name, "labels": {"app": app}}, "spec": {"containers": [container]}}


def test_a_selector_that_matches_nothing_yields_both_forms_empty(api: API):
    api.create("services", service())
    (found,) = eventually(lambda: slices(api, "web"), "the slice")
    assert found["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"] == OWN
    assert not found["endpoints"]
    assert not eventually(lambda: api.get("endpoints/web"), "the Endpoints").get("subsets")


def test_what_was_made_for_a_service_goes_with_it_and_comes_back_meanwhile(api: API):
    api.create("services", service())
    (found,) = eventually(lambda: slices(api, "web"), "the slice")
    api.call("DELETE", f"{SLICES}/{found['metadata']['name']}")
    eventually(lambda: [s for s in slices(api, "web") if s["metadata"]["uid"] != found["metadata"]["uid"]], "another")
    api.call("DELETE", "services/web")
    eventually(lambda: api.call("GET", "endpoints/web").status == 404, "no Endpoints", 30)
    eventually(lambda: not slices(api, "web"), "no slices", 90)


def test_pods_that_are_not_ready_are_published_where_wanted(api: API):
    api.create("pods", pod("slow", ready=False))
    api.create("services", service(publishNotReadyAddresses=True))
    api.create("services", service("strict", selector={"app": "web"}))
    (found,) = eventually(lambda: [s for s in slices(api, "web") if s["endpoints"]], "the endpoint")
    assert found["endpoints"][0]["conditions"]["ready"] is True
    assert eventually(lambda: api.get("endpoints/web")["subsets"][0]["addresses"], "the address")
    (found,) = eventually(lambda: [s for s in slices(api, "strict") if s["endpoints"]], "the endpoint")
    assert found["endpoints"][0]["conditions"]["ready"] is False
    assert eventually(lambda: api.get("endpoints/strict")["subsets"][0]["notReadyAddresses"], "the address")


def test_endpoints_say_which_pod_they_are(api: API, namespace: Kubectl):
    api.create("pods", pod("one"))
    api.create("services", service())
    one = namespace.ready_pod("one")["metadata"]
    reference = {"kind": "Pod", "namespace": api.namespace, "name": "one", "uid": one["uid"]}
    (found,) = eventually(lambda: [s for s in slices(api, "web") if s["endpoints"]], "the endpoint")
    assert found["endpoints"][0]["targetRef"] == reference
    assert found["ports"] == [{"name": "", "port": 80, "protocol": "TCP"}]
    (subset,) = eventually(
        lambda: [s for s in api.get("endpoints/web").get("subsets", ()) if s.get("addresses")], "the subset"
    )
    assert subset["addresses"][0]["targetRef"] == reference
    assert subset["ports"] == [{"port": 80, "protocol": "TCP"}]


def test_named_target_ports_are_resolved_for_each_pod(api: API):
    for name, ports in (("a", {"http": 8080}), ("b", {"http": 9090}), ("c", {"other": 1}), ("d", {"http": 8080})):
        api.create("pods", pod(name, ports=ports))
    api.create("services", service(ports=[{"name": "web", "port": 80, "targetPort": "http"}]))

    def by_port() -> dict[int, list[str]]:
        return {
            s["ports"][0]["port"]: sorted(e["targetRef"]["name"] for e in s["endpoints"] if e["conditions"]["ready"])
            for s in slices(api, "web")
            if s.get("ports")
        }

    expected = {8080: ["a", "d"], 9090: ["b"]}
    eventually(lambda: by_port() == expected, f"{expected}")

    def subsets_by_port() -> dict[int, list[str]]:
        return {
            s["ports"][0]["port"]: sorted(a["targetRef"]["name"] for a in s.get("addresses", ()))
            for s in api.get("endpoints/web").get("subsets", ())
        }

    eventually(lambda: subsets_by_port() == expected, f"subsets of {expected}")


def test_slices_follow_the_pods_that_live(api: API, namespace: Kubectl):
    manifest = "create deployment web --image=host --replicas=4 -- sh -c"
    namespace(manifest, "trap exit TERM; sleep infinity & wait")
    api.create("services", service())
    namespace.wait_ready("app=web", 4)
    namespace("scale deployment web --replicas=2")
    namespace("delete pod --wait=false", namespace.ready_pods("app=web")[0]["metadata"]["name"])

    def same() -> bool:
        living = {p["status"]["podIP"] for p in namespace.ready_pods("app=web")}
        return len(living) == 2 and living == {address.partition(":")[0] for address in namespace.endpoints("web")}

    eventually(same, "the endpoints are the pods", 60)


def test_slices_and_endpoints_are_kept_as_clients_write_them(api: API):
    many = {"addresses": ["10.1.1.1", "10.1.1.2"], "conditions": {"ready": True}}
    made = api.create(SLICES, {"metadata": {"name": "many"}, "addressType": "IPv4", "endpoints": [many], "ports": []})
    assert made["endpoints"] == [many]
    subset = {"addresses": [{"ip": "10.1.1.1"}], "ports": [{"name": "a", "port": 1, "protocol": "TCP"}]}
    api.create("endpoints", {"metadata": {"name": "own"}, "subsets": [subset]})
    other = {"addresses": [{"ip": "10.1.1.2"}], "ports": [{"name": "b", "port": 2, "protocol": "TCP"}]}
    assert api.patch("endpoints/own", {"subsets": [other]}, "strategic-merge")["subsets"] == [other]


def test_endpoints_without_a_selector_are_mirrored(api: API):
    spec = {"ports": [{"name": "web", "port": 80}]}
    api.create("services", {"metadata": {"name": "own"}, "spec": spec})
    wanted = {"metadata": {"name": "own"}, "subsets": [{"addresses": [{"ip": "10.1.1.1"}], "ports": [{"port": 8080}]}]}
    api.create("endpoints", wanted)

    def mirrored() -> list[Any]:
        return [
            (s["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"], e["addresses"], s["ports"])
            for s in slices(api, "own")
            for e in s["endpoints"]
        ]

    ports = [{"name": "", "port": 8080, "protocol": "TCP"}]
    eventually(lambda: mirrored() == [(MIRRORED, ["10.1.1.1"], ports)], "the mirror", 12)
    wanted["subsets"][0]["addresses"] = [{"ip": "10.1.1.2"}]
    assert api.call("PUT", "endpoints/own", wanted).status == 200
    eventually(lambda: mirrored() == [(MIRRORED, ["10.1.1.2"], ports)], "the new address alone", 12)
    api.call("DELETE", "endpoints/own")
    eventually(lambda: not slices(api, "own"), "no mirror", 12)


def test_slices_come_soon_when_many_services_are_made(api: API, namespace: Kubectl):
    """200 Services, 15 at a time: upstream allows a median of 20 s and a p99 of 50 s; we aim at a hundredth."""
    api.create("pods", pod("one"))
    namespace.ready_pod("one")
    arrived: dict[str, float] = {}
    made: dict[str, float] = {}
    version = api.get(SLICES)["metadata"]["resourceVersion"]

    def watch() -> None:
        with api.watch(f"{SLICES}?watch=true&resourceVersion={version}", 60) as events:
            for event in events:
                name = event["object"]["metadata"]["labels"]["kubernetes.io/service-name"]
                if event["object"].get("endpoints"):
                    arrived.setdefault(name, time.monotonic())
                if len(arrived) == 200:
                    return

    def create(number: int) -> None:
        name = f"web-{number}"
        api.create("services", service(name, selector={"app": "web"}))
        made[name] = time.monotonic()

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(15) as pool:
        list(pool.map(create, range(200)))
    watcher.join(60)
    delays = sorted(arrived[name] - made[name] for name in made)
    assert len(delays) == 200
    print(f"median {statistics.median(delays) * 1000:.0f} ms, p99 {delays[197] * 1000:.0f} ms")
    assert statistics.median(delays) < 20
    assert delays[197] < 50
