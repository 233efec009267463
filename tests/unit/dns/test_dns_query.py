"""The way of a name through a search path, and how it is told."""

import asyncio
import contextlib

import dns.message
import dns.rcode
import pytest

from sampan.dns import query, walk, wire
from sampan.dns.walk import Resolver as Config
from sampan.dns.wire import Record, Reply
from support.resolvers import HOST, Resolver, nothing, response

POD = (
    "search ns.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10 # dns\noptions ndots:5 edns0\n"
)


def test_a_resolv_conf_is_read():
    found = walk.parse(POD)
    assert found == Config(("10.96.0.10",), ("ns.svc.cluster.local", "svc.cluster.local", "cluster.local"), 5)
    assert walk.parse("") == Config(("127.0.0.1",), (), 1)


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("web", ["web.ns.svc.cluster.local.", "web.svc.cluster.local.", "web.cluster.local.", "web."]),
        ("web.", ["web."]),
        ("a.b.c.d.e.f", ["a.b.c.d.e.f.", "a.b.c.d.e.f.ns.svc.cluster.local.", "a.b.c.d.e.f.svc.cluster.local.",
                         "a.b.c.d.e.f.cluster.local."]),
    ],
)  # fmt: skip
def test_few_dots_go_the_search_path_first_and_many_last(name, names):
    assert [step.name for step in walk.steps(name, walk.parse(POD))] == names


@pytest.mark.parametrize(
    ("reply", "ends", "meaning"),
    [
        (None, False, "no answer in time"),
        (Reply(wire.NXDOMAIN), False, "NXDOMAIN: there is no such name"),
        (Reply(answers=(Record("a", wire.A, bytes(4)),)), True, "NOERROR: found"),
        (Reply(), False, "NOERROR without answer: the name exists, but has no A record"),
        (
            Reply(wire.NXDOMAIN, (Record("a", wire.CNAME, wire.encode_name("b.example")),)),
            False,
            "NXDOMAIN: an alias for b.example., and there is no such name",
        ),
        (Reply(wire.SERVFAIL), False, "SERVFAIL: the server could not answer"),
    ],
)
def test_an_answer_ends_the_way_or_not(reply, ends, meaning):
    assert walk.verdict(reply, wire.A) == (ends, meaning)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "the name is empty"),
        ("a..b", "nothing between two dots"),
        (".a", "nothing between two dots"),
        ("x" * 64, "is longer than 63 characters"),
        ("a." * 127 + "bcd", "too long"),
        ("\u4e2d.example", "characters that are no bytes"),
    ],
)
def test_what_cannot_be_asked_for_is_said_before_anything_is_asked(name, problem):
    with pytest.raises(ValueError, match=problem):
        walk.check(name)


@pytest.mark.parametrize("name", ["web", "web.", ".", "_http._tcp.web", "a b", "x" * 63])
def test_anything_else_may_be_asked_for(name):
    walk.check(name)


def test_an_address_has_a_name_that_leads_back():
    assert walk.reverse("10.96.0.1") == "1.0.96.10.in-addr.arpa."
    assert walk.reverse("web") == ""


def test_records_are_shown_as_dig_does():
    name = wire.encode_name("web.example")
    records = [
        Record("a.example", wire.A, bytes((10, 0, 0, 1)), 5),
        Record("a.example", wire.CNAME, name, 5),
        Record("a.example", wire.SRV, bytes((0, 0, 0, 50, 0, 80)) + name, 5),
        Record("a.example", wire.TXT, b"\x02hi", 5),
        Record("a.example", 99, b"\1\2", 5),
    ]
    assert [text.split(" IN ")[1] for text in walk.shown(records)] == [
        "A 10.0.0.1", "CNAME web.example.", "SRV 0 50 80 web.example.", 'TXT "hi"', r"TYPE99 \# 2 0102",
    ]  # fmt: skip


def answer(found):
    def behave(asked):
        name = asked.question[0].name.to_text()
        if name == found:
            return [response(asked, (name, 60, "IN", "A", "192.0.2.7"))]
        return [response(asked, rcode=dns.rcode.NXDOMAIN)]

    return behave


def go(name, behave):
    async def whole():
        async with contextlib.AsyncExitStack() as stack:
            resolver = await Resolver(behave).start(stack)
            config = Config((HOST,), ("x.example", "example"), 2)
            return [line async for step in query.ask(name, wire.A, config, resolver.port)
                    for line in query.lines(step, wire.A)]  # fmt: skip

    return asyncio.run(whole())


def go_step(step, resolver):
    async def whole():
        async with contextlib.AsyncExitStack() as stack:
            server = await Resolver(answer("")).start(stack)
            return query.lines(await query._ask_all(step, wire.A, resolver, server.port), wire.A)[1]

    return asyncio.run(whole())


def test_each_step_is_told_until_the_name_is_found():
    assert go("web", answer("web.example.")) == [
        "web.x.example. A   (0 dots, fewer than ndots:2: first the search path)",
        f"    {HOST} says NXDOMAIN: there is no such name (from elsewhere)",
        "web.example. A   (search path, entry 2)",
        f"    {HOST} says NOERROR: found (from elsewhere)",
        "    web.example. 60 IN A 192.0.2.7",
    ]


def test_an_entry_that_makes_the_name_too_long_is_passed_over():
    long = ".".join(["x" * 60] * 4)
    resolver = Config((HOST,), ("much.too.long.example",), 5)
    first, second = (go_step(step, resolver) for step in walk.steps(long, resolver))
    assert first == "    not asked for: with this entry of the search path the name is too long"
    assert "too long" not in second


def test_a_server_that_is_silent_is_told_of(monkeypatch):
    monkeypatch.setattr(query, "SECONDS", 0.05)
    assert go("web.", nothing)[1] == f"    {HOST}: no answer within 0.05 s"
