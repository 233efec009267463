"""The add-ons are what tutorials expect; old news does not count as Ready; a DNS answer is told from anything else."""

import asyncio
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.api.core_v1 import Node, NodeStatus
from sampan.api.meta_v1 import Condition, ObjectMeta
from sampan.client.resources import Resource
from sampan.cluster import addons
from sampan.cluster.bootstrap import _is_fresh, _ReadyNodes, create_addons, has_address, question
from sampan.cluster.config import build
from sampan.machinery import objects
from sampan.machinery.objects import Object

CONFIG = build({"network": {"services": "10.32.0.0/16", "domain": "example.org"}})


def test_dns_has_the_names_and_address_that_everybody_knows() -> None:
    made = {(resource.kind, objects.name(obj)): obj for resource, obj in addons.objects(CONFIG)}
    service = made["Service", "kube-dns"]
    assert service["spec"]["clusterIP"] == "10.32.0.10"
    assert [(port["name"], port["port"], port["protocol"]) for port in service["spec"]["ports"]] == [
        ("dns", 53, "UDP"),
        ("dns-tcp", 53, "TCP"),
        ("metrics", 9153, "TCP"),
    ]
    deployment = made["Deployment", "coredns"]
    template = deployment["spec"]["template"]
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    assert deployment["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    assert "example.org" in made["ConfigMap", "coredns"]["data"]["Corefile"]
    assert ("ServiceAccount", template["spec"]["serviceAccountName"]) in made


def test_dns_on_each_node_is_there_only_if_wanted() -> None:
    assert not any(objects.name(obj) == "node-local-dns" for _, obj in addons.objects(CONFIG))
    wanted = build({"network": {"domain": "example.org"}, "dns": {"nodeLocal": True}})
    made = {(resource.kind, objects.name(obj)): obj for resource, obj in addons.objects(wanted)}
    daemon_set = made["DaemonSet", "node-local-dns"]
    template = daemon_set["spec"]["template"]
    assert daemon_set["spec"]["selector"]["matchLabels"] == template["metadata"]["labels"]
    assert template["spec"]["hostNetwork"]
    assert ("ServiceAccount", template["spec"]["serviceAccountName"]) in made
    (binding,) = [obj for (kind, name), obj in made.items() if kind == "ClusterRoleBinding" and "node-local" in name]
    assert ("ClusterRole", binding["roleRef"]["name"]) in made
    corefile = made["ConfigMap", "node-local-dns"]["data"]["Corefile"]
    assert "kubernetes example.org" in corefile
    assert "bind 169.254.20.10" in corefile


@pytest.mark.parametrize(
    ("status", "heard", "fresh"),
    [
        ("True", "2026-01-01T00:00:10Z", True),
        ("True", "2026-01-01T00:00:09Z", False),
        ("False", "2026-01-01T00:00:11Z", False),
        ("True", None, False),
    ],
)
def test_only_a_condition_written_since_the_start_counts(status: str, heard: str | None, fresh: bool) -> None:
    condition = Condition(type="Ready", status=status, last_heartbeat_time=heard)
    node = Node(status=NodeStatus(conditions=(condition,)))
    assert _is_fresh(node, "2026-01-01T00:00:10Z") is fresh


def test_a_node_without_conditions_is_not_ready() -> None:
    assert not _is_fresh(Node(), "2026-01-01T00:00:00Z")


class Recording:
    """A client that notes what is created."""

    def __init__(self) -> None:
        self.created: list[str] = []

    async def create(self, resource: Resource, obj: Object) -> None:
        self.created.append(f"{resource.kind} {objects.name(obj)}")


def ready_node(name: str) -> Node:
    condition = Condition(type="Ready", status="True", last_heartbeat_time="2999-01-01T00:00:00Z")
    return Node(metadata=ObjectMeta(name=name), status=NodeStatus(conditions=(condition,)))


def test_dns_pods_come_when_each_has_a_node_and_what_they_need_comes_before() -> None:
    async def scene() -> None:
        client: Any = Recording()
        told: list[str] = []
        nodes = _ReadyNodes(client, CONFIG, told.append)
        creating = asyncio.create_task(create_addons(client, CONFIG, nodes))
        await asyncio.sleep(0)
        for name in ("stranger", "node-2", "node-2"):
            nodes._changed(None, ready_node(name))
            await asyncio.sleep(0)
        assert "ConfigMap coredns" in client.created
        assert "Deployment coredns" not in client.created
        nodes._changed(None, ready_node("node-1"))
        await creating
        assert client.created[-1] == "Deployment coredns"
        assert told == ["node-2 is Ready", "node-1 is Ready"]

    asyncio.run(scene())


def reply(flags: int, answers: int) -> bytes:
    return struct.pack("!6H", 1, flags, 1, answers, 0, 0) + question("a.b")[12:]


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (reply(0x8180, 1), True),
        (reply(0x8180, 0), False),
        (reply(0x8183, 1), False),
        (reply(0x0100, 1), False),
        (b"", False),
        (b"short", False),
    ],
)
def test_an_answer_is_a_successful_response_with_records(packet: bytes, expected: bool) -> None:
    assert has_address(packet) is expected


@given(st.binary(max_size=64))
def test_no_packet_whatsoever_is_an_error(packet: bytes) -> None:
    has_address(packet)
