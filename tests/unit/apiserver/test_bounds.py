"""What a request may cost is bounded: in work before anything is parsed, in memory, and in what is kept afterwards."""

import asyncio
import gc
from typing import Any

import pytest

from sampan.apiserver import bodies, negotiation, yaml_loader
from sampan.machinery import quantity, selectors
from support.api import API, CONFIG_MAPS, served

PODS = "/api/v1/namespaces/default/pods"


def pod(amount: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "host", "resources": {"requests": {"cpu": amount}}}
    return {"metadata": {"name": "p"}, "spec": {"containers": [container]}}


@pytest.mark.parametrize("amount", ["1" * 400_000, "0." + "0" * 400_000 + "1", "1" * 129, int("9" * 100)])
@served
async def test_a_quantity_that_is_too_long_is_refused_unread(api: API, amount: Any) -> None:
    answer = await api.post(PODS, pod(amount))
    assert answer.status == 400
    assert "quantities must match the regular expression" in answer.json["message"] or isinstance(amount, int)


def kept(function: Any) -> int:
    return int(function.cache_info().currsize)


def test_caches_keep_nothing_that_is_long() -> None:
    """Their keys are clients' text: a thousand long ones would stay for the server's life."""
    for _ in range(2):
        with pytest.raises(quantity.QuantityError):
            quantity.canonical("1" * 10_000)
        before = kept(selectors._parse_short_labels), kept(selectors._parse_short_fields)
        selectors.parse_labels(",".join(f"key{number}=value" for number in range(1000)))
        selectors.parse_fields("metadata.name=" + "x" * 10_000)
        assert (kept(selectors._parse_short_labels), kept(selectors._parse_short_fields)) == before
        formats = kept(negotiation._negotiate_short)
        negotiation.negotiate("application/json," + "text/html," * 1000)
        assert kept(negotiation._negotiate_short) == formats
    gc.collect()


@served
async def test_metrics_have_no_labels_of_resources_that_are_not_served(api: API) -> None:
    async def lines() -> int:
        return (await api.get("/metrics")).body.count(b"\n")

    await api.get("/apis/made-up/v1/things")
    await api.get(f"{CONFIG_MAPS}/x/made-up")
    before = await lines()
    for number in range(20):
        await api.get(f"/apis/group{number}/v1/things{number}")
        await api.get(f"{CONFIG_MAPS}/x/part{number}")
    assert await lines() <= before + 20
    assert b"group7" not in (await api.get("/metrics")).body
    assert b"part7" not in (await api.get("/metrics")).body


def big_yaml(lines: int) -> bytes:
    return b"metadata: {name: big}\ndata:\n" + b"".join(b"  k%d: v\n" % number for number in range(lines))


@served
async def test_large_yaml_is_read_elsewhere_and_means_the_same(api: API) -> None:
    """The event loop never parses it: the server's own loader is taken away here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yaml_loader, "load", None)
        answer = await api.post(CONFIG_MAPS, big_yaml(5000), content_type="application/yaml")
    assert answer.status == 201, answer.body
    assert answer.json["data"] == {f"k{number}": "v" for number in range(5000)}


LARGE_YAML = {
    "too many nodes": (b"a: [" + b"1," * 600_000 + b"1]", "too many nodes"),
    "too deep": (b"a: " + b"[" * 50_000, "nest"),
    "aliases that multiply": (
        b"# " + b"x" * 20_000 + b"\na: &a [x,x,x,x,x,x,x,x,x]\n"
        + b"".join(b"%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n" % ((i, i) + (i - 1,) * 7) for i in range(98, 112)),
        "too many nodes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LARGE_YAML)
@served
async def test_large_yaml_that_is_hostile_is_refused(api: API, case: str) -> None:
    body, why = LARGE_YAML[case]
    answer = await api.post(CONFIG_MAPS, body, content_type="application/yaml")
    assert (answer.status, why in answer.json["message"]) == (400, True), answer.body


@served
async def test_only_so_many_large_bodies_are_read_at_once(api: API) -> None:
    await bodies._converters.acquire()
    await bodies._converters.acquire()
    try:
        answer = await api.post(CONFIG_MAPS, big_yaml(5000), content_type="application/yaml")
    finally:
        bodies._converters.release()
        bodies._converters.release()
    assert (answer.status, answer.headers["retry-after"]) == (429, "1")


SCALARS = {
    "0o14": 12, "014": 12, "0x1F": 31, "0b101": 5, "1_000": 1000, "-7": -7, "+7": 7, "1.5": 1.5, "1e3": 1000.0,
    ".5": 0.5, "on": True, "No": False, "~": None, "''": "", "2020-01-01": "2020-01-01", "1:30": "1:30", "0o": "0o",
    "'12'": "12", "!!str 12": "12", "!!int '12'": 12, "!!float 1": 1.0, "1e999": "1e999", "<<": "<<", "0x": "0x",
}  # fmt: skip


@pytest.mark.parametrize("text", SCALARS)
def test_yaml_scalars_are_what_upstreams_parser_makes_of_them(text: str) -> None:
    assert yaml_loader.load(f"a: {text}".encode()) == {"a": SCALARS[text]}


def test_yaml_collections_anchors_and_documents() -> None:
    assert yaml_loader.load(b"- [1, {a: b}]\n- &x {c: [d]}\n- *x\n- []\n- {}\n") == [
        [1, {"a": "b"}],
        {"c": ["d"]},
        {"c": ["d"]},
        [],
        {},
    ]
    assert yaml_loader.load(b"") is None
    assert yaml_loader.load(b"&k key: *k\n") == {"key": "key"}
    for wrong in (b"a: 1\n---\nb: 2\n", b"1: x\n", b"&a [*a]\n", b"*nothing\n", b"!!set {a}\n", b"? [a]\n: b\n"):
        with pytest.raises(ValueError, match=r"."):
            yaml_loader.load(wrong)


@served
async def test_data_after_an_upgrade_request_is_not_kept_without_end(api: API) -> None:
    """A client that asks for an upgrade and sends on is made to wait once some data is there."""
    host, port = api.config.server.removeprefix("https://").split(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=api.config.ssl_context())
    head = f"GET {CONFIG_MAPS}?watch=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n"
    writer.write(head.encode())
    try:
        assert await taken(writer, 256) < 256
    finally:
        writer.transport.abort()
    assert (await api.get("/livez")).status == 200


async def taken(writer: asyncio.StreamWriter, megabytes: int) -> int:
    """How many megabytes the other side takes before it stops for a while."""
    for number in range(megabytes):
        writer.write(b"x" * (1 << 20))
        try:
            async with asyncio.timeout(2):
                await writer.drain()
        except TimeoutError:
            return number
    return megabytes
