"""The cache of others' names: for how long, for whom, and what it never keeps."""

import asyncio

import dns.flags
import dns.rcode
import pytest

from sampan.dns.plugins import cache
from support.resolvers import Resolver, address, nothing, response

WEB = "web.default.svc.cluster.local"
SOA = ("example.com.", 900, "IN", "SOA", "ns.example.com. admin.example.com. 1 7200 1800 86400 20")


class Clock:
    now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(cache, "time", found)
    return found


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


def ttl(answer):
    return answer.answer[0].ttl


def test_an_answer_is_asked_for_once_and_ages(world, run, clock):
    async def scenario():
        resolver = Resolver(address)
        await world.start(resolver, before="cache")
        assert ttl(await world.ask("example.com")) == 60
        clock.now += 20
        assert ttl(await world.ask("Example.COM")) == 40
        assert len(resolver.asked) == 1
        clock.now += 41
        assert ttl(await world.ask("example.com")) == 60
        assert len(resolver.asked) == 2
        assert world.metrics.value("coredns_cache_hits_total", type="success") == 1
        assert world.metrics.value("coredns_cache_misses_total") == 2
        assert world.metrics.value("coredns_cache_entries", type="success") == 1

    run(scenario)


def test_the_case_of_each_clients_question_is_kept(world, run):
    async def scenario():
        await world.start(Resolver(address), before="cache")
        for name in ("example.com", "EXAMPLE.com"):
            answer = await world.ask(name)
            assert answer.question[0].name.to_text() == f"{name}."
            assert answer.answer[0].name.to_text() == f"{name}."

    run(scenario)


@pytest.mark.parametrize(
    ("given", "options", "expected"),
    [(7200, "cache", 3600), (7200, "cache 30", 30), (60, "cache {\nsuccess 10 20\n}", 20), (1, "cache", 5)],
)
def test_a_time_to_live_is_brought_within_bounds(world, run, clock, given, options, expected):
    async def scenario():
        await world.start(Resolver(lambda query: address(query, ttl=given)), before=options)
        await world.ask("example.com")
        assert ttl(await world.ask("example.com")) == expected

    run(scenario)


@pytest.mark.parametrize("rcode", [dns.rcode.NXDOMAIN, dns.rcode.NOERROR])
def test_a_denial_is_kept_for_as_long_as_its_soa_says(world, run, clock, rcode):
    async def scenario():
        resolver = Resolver(lambda query: [response(query, SOA, rcode=rcode)])
        await world.start(resolver, before="cache")
        for _ in range(2):
            answer = await world.ask("none.example.com")
            assert (answer.rcode(), len(answer.authority)) == (rcode, 1)
        assert len(resolver.asked) == 1
        clock.now += 21
        await world.ask("none.example.com")
        assert len(resolver.asked) == 2

    run(scenario)


def test_a_denial_without_soa_is_not_kept(world, run):
    async def scenario():
        resolver = Resolver(lambda query: [response(query, rcode=dns.rcode.NXDOMAIN)])
        await world.start(resolver, before="cache")
        for _ in range(2):
            await world.ask("none.example.com")
        assert len(resolver.asked) == 2

    run(scenario)


def test_a_failure_is_kept_for_a_few_seconds(world, run, clock):
    async def scenario():
        resolver = Resolver(lambda query: [response(query, rcode=dns.rcode.SERVFAIL)])
        await world.start(resolver, before="cache")
        for _ in range(2):
            assert (await world.ask("example.com")).rcode() == dns.rcode.SERVFAIL
        assert len(resolver.asked) == 1
        clock.now += 6
        await world.ask("example.com")
        assert len(resolver.asked) == 2

    run(scenario)


def test_names_of_the_cluster_are_never_kept_here(world, run, make):
    async def scenario():
        await world.start(Resolver(address), before="cache")
        assert (await world.ask("new.default.svc.cluster.local")).rcode() == dns.rcode.NXDOMAIN
        world.cluster.set_service(None, make.service("new", clusterIP="10.96.5.5", clusterIPs=["10.96.5.5"]))
        assert (await world.ask("new.default.svc.cluster.local")).answer[0][0].to_text() == "10.96.5.5"
        assert world.metrics.value("coredns_cache_entries") == 0

    run(scenario)


def test_signed_and_unsigned_answers_are_kept_apart(world, run):
    async def scenario():
        resolver = Resolver(address)
        await world.start(resolver, before="cache")
        await world.ask("example.com")
        await world.ask("example.com", use_edns=0, want_dnssec=True)
        assert [bool(query.ednsflags & dns.flags.DO) for query in resolver.asked] == [False, True]

    run(scenario)


def test_when_full_the_entry_not_used_for_longest_goes(world, run):
    async def scenario():
        resolver = Resolver(address)
        await world.start(resolver, before="cache {\nsuccess 2\n}")
        for name in ("a.example.com", "b.example.com", "a.example.com", "c.example.com", "a.example.com"):
            await world.ask(name)
        assert len(resolver.asked) == 3
        await world.ask("b.example.com")
        assert len(resolver.asked) == 4
        assert world.metrics.value("coredns_cache_evictions_total") == 2

    run(scenario)


def test_what_is_asked_often_is_renewed_before_it_ends(world, run, clock):
    async def scenario():
        resolver = Resolver(address)
        await world.start(resolver, before="cache {\nprefetch 2 1m 20%\n}")
        for _ in range(3):
            await world.ask("example.com")
        clock.now += 50
        assert ttl(await world.ask("example.com")) == 10
        await until(lambda: len(resolver.asked) == 2)
        await until(lambda: world.metrics.value("coredns_forward_responses_total") == 2)
        clock.now += 5
        assert ttl(await world.ask("example.com")) == 55
        assert world.metrics.value("coredns_cache_prefetch_total") == 1

    run(scenario)


@pytest.mark.parametrize("mode", ["immediate", "verify"])
def test_a_stale_answer_is_given_while_no_resolver_answers(world, run, clock, mode):
    async def scenario():
        resolver = Resolver(address)
        await world.start(resolver, before=f"cache {{\nserve_stale 1h {mode}\n}}", attempt=0.05, total=0.1)
        await world.ask("example.com")
        resolver.behave = nothing
        clock.now += 120
        answer = await world.ask("example.com")
        assert (ttl(answer), answer.answer[0][0].to_text()) == (0, "192.0.2.7")
        assert world.metrics.value("coredns_cache_served_stale_total") == 1
        clock.now += 3600
        assert (await world.ask("example.com")).rcode() == dns.rcode.SERVFAIL

    run(scenario)


def test_only_the_zones_named_are_kept(world, run):
    async def scenario():
        resolver = Resolver(address)
        await world.start(resolver, before="cache 30 example.org")
        for name in ("a.example.com", "a.example.org") * 2:
            await world.ask(name)
        assert len(resolver.asked) == 3

    run(scenario)
