"""Protobuf bodies become the JSON objects that the same client would have sent."""

import random
from typing import Any

import pytest

from sampan.apiserver.protobuf.messages import MAGIC, decode_message, table
from sampan.apiserver.protobuf.objects import decode_object
from sampan.apiserver.protobuf.wire import WireError, fields
from sampan.machinery.errors import BadRequest
from sampan.machinery.schema import Schemas
from support.api import API, CONFIG_MAPS, served
from support.mutations import Mutator


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


METADATA = field(1, "foo") + field(2, "") + field(3, "") + field(7, 0) + field(8, b"")
"""name, and what Go writes for generateName, namespace, generation and creationTimestamp that are not set."""

MESSAGES: dict[str, tuple[str, bytes, Any]] = {
    "what is not set is left out": ("meta.v1.ObjectMeta", METADATA, {"name": "foo"}),
    "a map": ("core.v1.ConfigMap", field(2, field(1, "a") + field(2, "b")), {"data": {"a": "b"}}),
    "bytes are base64": ("core.v1.Secret", field(2, field(1, "a") + field(2, b"\xff")), {"data": {"a": "/w=="}}),
    "a zero that was meant": ("apps.v1.DeploymentSpec", field(1, 0) + field(5, 0), {"replicas": 0}),
    "false that was meant": ("core.v1.ServiceAccount", field(4, 0), {"automountServiceAccountToken": False}),
    "a negative number": ("core.v1.PodSpec", field(25, -5), {"priority": -5}),
    "a list": ("core.v1.Container", field(3, "sh") + field(3, "-c"), {"command": ["sh", "-c"]}),
    "a number or a string": (
        "core.v1.ServicePort",
        field(3, 80) + field(4, field(1, 1) + field(2, 0) + field(3, "web")),
        {"port": 80, "targetPort": "web"},
    ),
    "an inlined message": (
        "core.v1.Volume",
        field(1, "v") + field(2, field(2, field(1, ""))),
        {"name": "v", "emptyDir": {}},
    ),
    "a time": ("meta.v1.ObjectMeta", field(8, field(1, 86400)), {"creationTimestamp": "1970-01-02T00:00:00Z"}),
    "a time in microseconds": (
        "coordination.v1.LeaseSpec",
        field(4, field(1, 86400) + field(2, 5000)),
        {"renewTime": "1970-01-02T00:00:00.000005Z"},
    ),
    "a quantity": (
        "core.v1.ResourceRequirements",
        field(1, field(1, "cpu") + field(2, field(1, "100m"))),
        {"limits": {"cpu": "100m"}},
    ),
    "a field that is not known": ("core.v1.ConfigMap", field(999, "x") + field(4, 1), {"immutable": True}),
}


@pytest.mark.parametrize("case", MESSAGES)
def test_a_message_becomes_what_json_would_say(case: str) -> None:
    name, data, expected = MESSAGES[case]
    assert decode_message(name, data) == expected


@pytest.mark.parametrize("cut", range(1, len(METADATA)))
def test_a_message_that_is_cut_off_is_refused_or_shorter(cut: int) -> None:
    try:
        decode_message("meta.v1.ObjectMeta", METADATA[:cut])
    except WireError:
        return


def test_every_message_that_a_field_names_is_known() -> None:
    known = table()
    scalars = {"string", "int", "bool", "bytes", "double"}
    named = {field.kind for message in known.values() for field in message.values()}
    assert named - set(known) - scalars == set()


def test_the_names_of_fields_are_those_of_the_published_schemas() -> None:
    schemas = Schemas.load("1.36")
    for name in ("core.v1.PodSpec", "core.v1.ServiceSpec", "apps.v1.DeploymentSpec", "batch.v1.JobSpec"):
        published = set(schemas.named(f"io.k8s.api.{name}").properties)
        assert {field.name for field in table()[name].values()} <= published


def test_numbers_too_long_for_the_wire_are_refused() -> None:
    with pytest.raises(WireError):
        list(fields(b"\x08" + b"\xff" * 11))


@served
async def test_a_protobuf_create_is_a_create(api: API) -> None:
    unknown = field(1, field(1, "v1") + field(2, "ConfigMap"))
    body = MAGIC + unknown + field(2, field(1, METADATA) + field(2, field(1, "a") + field(2, "b")))
    answer = await api.post(CONFIG_MAPS, body, content_type="application/vnd.kubernetes.protobuf")
    assert (answer.status, answer.headers["content-type"]) == (201, "application/json")
    assert (answer.json["metadata"]["name"], answer.json["data"]) == ("foo", {"a": "b"})


KINDS = {
    "core.v1.Pod": "/api/v1/namespaces/default/pods",
    "core.v1.Service": "/api/v1/namespaces/default/services",
    "apps.v1.Deployment": "/apis/apps/v1/namespaces/default/deployments",
    "batch.v1.CronJob": "/apis/batch/v1/namespaces/default/cronjobs",
}


def random_message(chance: random.Random, name: str, depth: int = 0) -> bytes:
    """A message whose fields are those of its type, with values that mostly fit."""
    known = table().get(name, {})
    numbers = [number for number in known if chance.random() < 0.3]
    return b"".join(field(number, random_value(chance, known[number].kind, depth)) for number in numbers)


def random_value(chance: random.Random, kind: str, depth: int) -> int | bytes:
    if chance.random() < 0.05:
        return chance.choice([0, -1, 1 << 63, b"", b"\xff\xfe", b"\x08"])
    if kind in ("int", "bool"):
        return chance.choice([0, 1, 80, -1, 1 << 40])
    if kind in table() and depth < 6:
        return random_message(chance, kind, depth + 1)
    return chance.choice([b"a", b"", b"10.0.0.1", b"1Gi", b"x" * 200])


def random_body(mutator: Mutator, name: str) -> bytes:
    group, version, kind = name.split(".")
    type_meta = field(1, version if group == "core" else f"{group}/{version}") + field(2, kind)
    body = MAGIC + field(1, type_meta) + field(2, random_message(mutator.random, name))
    return mutator.damaged(body) if mutator.random.random() < 0.5 else body


@pytest.mark.parametrize("name", KINDS)
def test_random_messages_are_decoded_or_refused(name: str) -> None:
    mutator, refused = Mutator(1), 0
    for _ in range(300):
        try:
            assert isinstance(decode_object(random_body(mutator, name)), dict)
        except BadRequest:
            refused += 1
    assert 0 < refused < 300


@pytest.mark.parametrize("name", KINDS)
@served
async def test_random_protobuf_bodies_are_answered_or_refused(api: API, name: str) -> None:
    mutator = Mutator(2)
    for _ in range(60):
        body = random_body(mutator, name)
        answer = await api.post(KINDS[name], body, content_type="application/vnd.kubernetes.protobuf")
        assert answer.status == 201 or answer.json["kind"] == "Status", body
        assert answer.status < 500, (body, answer.body)
