"""Forwarding: what a resolver may do wrong, and what the client then gets."""

import asyncio
import contextlib

import dns.flags
import dns.message
import dns.name
import dns.rcode
import pytest

from sampan.dns import resolvconf
from sampan.dns.plugins.forward_options import address_of
from support.resolvers import HOST, Resolver, address, nothing, response

WEB = "web.default.svc.cluster.local"


def refusing(query):
    return [response(query, rcode=dns.rcode.SERVFAIL)]


def cut_off(query):
    return [response(query, flags=dns.flags.TC)]


async def first(world, name="example.com", **options):
    answer = await world.ask(name, **options)
    return answer.answer[0][0].to_text() if answer.answer else dns.rcode.to_text(answer.rcode())


@pytest.mark.parametrize("tcp", [False, True])
def test_another_name_is_asked_of_the_resolver_letter_by_letter(world, run, texts, tcp):
    async def scenario():
        resolver = Resolver(address)
        await world.start(resolver)
        answer = await world.ask("ExamPle.com", tcp=tcp)
        assert texts(answer.answer) == ["ExamPle.com A 192.0.2.7"]
        (asked,) = resolver.asked_tcp if tcp else resolver.asked
        assert asked.question[0].name.to_text() == "ExamPle.com."
        assert asked.payload == 1232
        assert asked.id != answer.id
        assert not answer.flags & dns.flags.AA

    run(scenario)


def test_an_error_of_the_resolver_is_passed_on(world, run):
    async def scenario():
        await world.start(Resolver(lambda query: [response(query, rcode=dns.rcode.NXDOMAIN)]))
        assert (await world.ask("none.example.com")).rcode() == dns.rcode.NXDOMAIN

    run(scenario)


def test_a_silent_resolver_is_followed_by_the_next(world, run):
    async def scenario():
        await world.start(Resolver(nothing), Resolver(address))
        assert await first(world) == "192.0.2.7"

    run(scenario)


def test_when_no_resolver_answers_the_client_is_told_and_the_reason_is_logged(world, run, caplog):
    async def scenario():
        await world.start(Resolver(nothing), before="errors")
        assert await first(world) == "SERVFAIL"

    run(scenario)
    assert "plugin/errors: 2 example.com. A: 127.0.0.1:" in caplog.text
    assert "i/o timeout" in caplog.text


def test_a_late_answer_after_the_next_was_asked_is_not_taken_for_another(world, run):
    async def scenario():
        slow = Resolver(nothing)
        await world.start(slow, Resolver(address), attempt=0.1)
        assert await first(world) == "192.0.2.7"
        packet = address(slow.asked[0], data="203.0.113.9")[0]
        for client in slow.clients:
            slow.transport.sendto(packet, client)
        assert await first(world, "other.example.com") == "192.0.2.7"

    run(scenario)


def test_a_wrong_id_a_wrong_question_and_noise_are_ignored(world, run):
    def behave(query):
        (right,) = address(query)
        other = dns.message.make_query("other.example.com", "A", id=query.id)
        wrong_question = response(other, ("other.example.com.", 60, "IN", "A", "203.0.113.1"))
        wrong_id = bytes((right[0] ^ 1,)) + right[1:]
        return [wrong_id, wrong_question, b"noise", query.to_wire(), right]

    async def scenario():
        await world.start(Resolver(behave))
        assert await first(world) == "192.0.2.7"

    run(scenario)


def test_an_answer_from_another_address_is_not_believed(world, run):
    class Spoofer(Resolver):
        def datagram_received(self, data, addr):
            query = dns.message.from_wire(data)
            self.asked.append(query)
            self.elsewhere.sendto(address(query, data="203.0.113.1")[0], addr)

    async def scenario():
        spoofer = Spoofer(nothing)
        loop = asyncio.get_running_loop()
        spoofer.elsewhere, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, (HOST, 0))
        world.stack.callback(spoofer.elsewhere.close)
        await world.start(spoofer, Resolver(address))
        assert await first(world) == "192.0.2.7"

    run(scenario)


def test_each_query_has_a_port_and_an_id_of_its_own(world, run):
    async def scenario():
        resolver = Resolver(address)
        await world.start(resolver, attempt=10, total=10)
        await asyncio.gather(*(world.ask(f"{number}.example.com") for number in range(20)))
        assert len(resolver.clients) == 20
        assert len({query.id for query in resolver.asked}) > 15

    run(scenario)


def test_an_answer_that_udp_cut_off_is_fetched_over_tcp(world, run):
    async def scenario():
        resolver = Resolver(cut_off, address)
        await world.start(resolver)
        assert await first(world) == "192.0.2.7"
        assert (len(resolver.asked), len(resolver.asked_tcp)) == (1, 1)

    run(scenario)


def test_what_is_too_large_for_the_client_is_cut_off_for_it_alone(world, run, texts):
    def many(query):
        name = query.question[0].name
        return [response(query, *[(name, 60, "IN", "A", f"192.0.2.{number}") for number in range(100)])]

    async def scenario():
        await world.start(Resolver(cut_off, many), before="cache")
        small = await world.ask("example.com")
        assert small.flags & dns.flags.TC
        whole = await world.ask("example.com", tcp=True)
        assert not whole.flags & dns.flags.TC
        assert len(texts(whole.answer)) == 100

    run(scenario)


def test_a_resolver_that_does_not_know_edns_is_asked_without(world, run):
    def old(query):
        return address(query) if query.edns < 0 else [response(query, rcode=dns.rcode.FORMERR)]

    async def scenario():
        await world.start(Resolver(old))
        assert await first(world) == "192.0.2.7"

    run(scenario)


def test_with_force_tcp_one_connection_serves_many_queries(world, run):
    async def scenario():
        resolver = Resolver(address)
        await world.start(resolver, options="force_tcp")
        for number in range(5):
            assert await first(world, f"{number}.example.com") == "192.0.2.7"
        assert (len(resolver.asked), len(resolver.asked_tcp), resolver.connections) == (0, 5, 1)

    run(scenario)


def test_a_kept_connection_that_has_expired_is_not_used_again(world, run):
    async def scenario():
        resolver = Resolver(address)
        await world.start(resolver, options="force_tcp\nexpire 1ms")
        assert await first(world, "1.example.com") == "192.0.2.7"
        await asyncio.sleep(0.002)
        assert await first(world, "2.example.com") == "192.0.2.7"
        assert resolver.connections == 2

    run(scenario)


def test_with_prefer_udp_a_client_of_tcp_is_served_over_udp(world, run):
    async def scenario():
        resolver = Resolver(address)
        await world.start(resolver, options="prefer_udp")
        assert await first(world, tcp=True) == "192.0.2.7"
        assert (len(resolver.asked), len(resolver.asked_tcp)) == (1, 0)

    run(scenario)


def test_cluster_names_do_not_wait_for_a_resolver_that_hangs(world, run):
    async def scenario():
        await world.start(Resolver(nothing), attempt=5, total=5)
        slow = asyncio.create_task(world.ask("example.com"))
        for _ in range(50):
            await world.ask(WEB)
        assert not slow.done()
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)

    run(scenario)


def test_a_resolver_whose_health_check_fails_is_left_out_until_it_answers_again(world, run):
    async def scenario():
        state = {"well": False}
        sick = Resolver(lambda query: address(query) if state["well"] else refuse_to_speak())
        await world.start(sick, Resolver(address), attempt=0.05, options="health_check 10ms\nmax_fails 1")
        upstream = forwarding(world)._upstreams[0]
        upstream_check(upstream)
        assert await first(world) == "192.0.2.7"
        await until(lambda: upstream.fails >= 1)
        before = len(asked_by_clients(sick))
        assert await first(world, "b.example.com") == "192.0.2.7"
        assert len(asked_by_clients(sick)) == before
        state["well"] = True
        await until(lambda: upstream.fails == 0)
        assert await first(world, "c.example.com") == "192.0.2.7"
        assert len(asked_by_clients(sick)) == before + 1
        assert world.metrics.value("coredns_forward_healthcheck_failures_total", to=sick.to) >= 1

    run(scenario)


def refuse_to_speak():
    return []


def asked_by_clients(resolver):
    return [query for query in resolver.asked if query.question[0].name != dns.name.root]


def forwarding(world):
    return next(plugin for plugin in world.generation.plugins if hasattr(plugin, "_upstreams"))


def upstream_check(upstream):
    """Checks that give up soon."""
    ask = upstream.ask

    async def quick(packet, *, tcp):
        async with asyncio.timeout(0.05):
            return await ask(packet, tcp=tcp)

    upstream.ask = quick


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


def test_when_all_are_down_one_is_tried_all_the_same_unless_told_to_fail_fast(world, run):
    async def scenario():
        resolver = Resolver(address)
        await world.start(resolver, options="max_fails 1")
        forwarding(world)._upstreams[0].fails = 1
        assert await first(world) == "192.0.2.7"
        assert world.metrics.value("coredns_forward_healthcheck_broken_total") == 1

    run(scenario)


def test_told_to_fail_fast_the_client_is_told_at_once(world, run):
    async def scenario():
        resolver = Resolver(address)
        await world.start(resolver, options="max_fails 1\nfailfast_all_unhealthy_upstreams")
        forwarding(world)._upstreams[0].fails = 1
        assert await first(world) == "SERVFAIL"
        assert resolver.asked == []

    run(scenario)


@pytest.mark.parametrize(
    ("policy", "expected"), [("sequential", {0}), ("round_robin", {0, 1, 2}), ("random", {0, 1, 2})]
)
def test_a_policy_says_who_is_asked_first(world, run, policy, expected):
    async def scenario():
        resolvers = [Resolver(address) for _ in range(3)]
        await world.start(*resolvers, options=f"policy {policy}")
        for number in range(60):
            await world.ask(f"{number}.example.com")
        asked = [len(resolver.asked) for resolver in resolvers]
        assert {index for index, count in enumerate(asked) if count} == expected
        if policy == "round_robin":
            assert asked == [20, 20, 20]

    run(scenario)


def test_after_a_code_to_fail_over_for_the_next_is_asked(world, run):
    async def scenario():
        await world.start(Resolver(refusing), Resolver(address), options="failover SERVFAIL")
        assert await first(world) == "192.0.2.7"

    run(scenario)


def test_without_failover_an_error_code_is_an_answer(world, run):
    async def scenario():
        await world.start(Resolver(refusing), Resolver(address))
        assert await first(world) == "SERVFAIL"

    run(scenario)


def test_too_many_forwarded_queries_at_once_are_refused(world, run):
    async def scenario():
        await world.start(Resolver(nothing), options="max_concurrent 1", attempt=1)
        slow = asyncio.create_task(world.ask("slow.example.com"))
        await until(lambda: forwarding(world)._running == 1)
        assert await first(world) == "REFUSED"
        assert world.metrics.value("coredns_forward_max_concurrent_rejects_total") == 1
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)

    run(scenario)


def test_names_that_are_excepted_are_not_forwarded(world, run):
    async def scenario():
        resolver = Resolver(address)
        await world.start(resolver, options="except secret.example.com")
        assert await first(world, "a.secret.example.com") == "SERVFAIL"
        assert await first(world, "a.example.com") == "192.0.2.7"

    run(scenario)


def test_a_stub_zone_is_asked_of_its_own_resolver(world, run):
    async def scenario():
        stub = Resolver(lambda query: address(query, data="10.1.1.1"))
        await stub.start(world.stack)
        await world.start(Resolver(address), before=f"forward corp.example {stub.to}")
        assert await first(world, "db.corp.example") == "10.1.1.1"
        assert await first(world, "notcorp.example") == "192.0.2.7"

    run(scenario)


@pytest.mark.parametrize("tcp", [False, True])
def test_an_external_name_is_followed_outside(world, run, texts, tcp):
    def behave(query):
        assert query.question[0].name.to_text() == "example.com."
        records = [
            ("example.com.", 60, "IN", "CNAME", "www.example.net."),
            ("www.example.net.", 60, "IN", "A", "192.0.2.9"),
        ]
        return [response(query, *records)]

    async def scenario():
        await world.start(Resolver(behave))
        answer = await world.ask("out.default.svc.cluster.local", tcp=tcp)
        assert texts(answer.answer) == [
            "out.default.svc.cluster.local CNAME example.com.",
            "example.com CNAME www.example.net.",
            "www.example.net A 192.0.2.9",
        ]

    run(scenario)


def test_a_cname_question_does_not_ask_outside(world, run):
    async def scenario():
        resolver = Resolver(address)
        await world.start(resolver)
        assert (await world.ask("out.default.svc.cluster.local", "CNAME")).answer
        assert resolver.asked == []

    run(scenario)


def test_a_loop_is_found_and_ends_forwarding_but_not_the_clusters_names(world, run, caplog):
    class Mirror(Resolver):
        """Sends what it is asked back to who asked."""

        def datagram_received(self, data, addr):
            self.asked.append(data)
            self.task = asyncio.ensure_future(self.pass_on(data, addr))

        async def pass_on(self, data, addr):
            with contextlib.suppress(Exception):
                query = dns.message.from_wire(data)
                answer = await dns.asyncquery.udp(query, HOST, port=world.port, timeout=2)
                self.transport.sendto(answer.to_wire(), addr)

    async def scenario():
        world.port = 0
        await world.start(Mirror(nothing), before="loop", attempt=1)
        await until(lambda: "Loop (127.0.0.1" in caplog.text)
        assert await first(world) == "SERVFAIL"
        assert await first(world, WEB) == "10.96.0.5"

    run(scenario)
    assert 'detected for zone "."' in caplog.text


def test_systemds_stub_is_told_apart_from_a_resolver(tmp_path):
    conf, real = tmp_path / "resolv.conf", tmp_path / "real.conf"
    conf.write_text("# comment\nsearch A.example. b.example\nnameserver 127.0.0.53\noptions edns0\n")
    real.write_text("nameserver 10.0.0.1\nnameserver\nnameserver 10.0.0.2 # two\n")
    assert resolvconf.name_servers(conf, real) == ["10.0.0.1", "10.0.0.2"]
    assert resolvconf.name_servers(real, conf) == ["10.0.0.1", "10.0.0.2"]
    assert resolvconf.name_servers(conf, tmp_path / "none") == []
    assert resolvconf.name_servers(tmp_path / "none") == []
    assert resolvconf.search_domains(conf) == ("a.example", "b.example")


def test_a_resolv_conf_with_another_server_keeps_its_search_path_and_options():
    text = "nameserver 127.0.0.53 # stub\n\nsearch a.example b.example\nnameserver 10.0.0.1\noptions edns0 trust-ad\n"
    assert resolvconf.with_server(text, "10.2.2.1") == (
        "nameserver 10.2.2.1\nsearch a.example b.example\noptions edns0 trust-ad\n"
    )
    assert resolvconf.with_server("", "10.2.2.1") == "nameserver 10.2.2.1\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.1", ("10.0.0.1", 53)),
        ("10.0.0.1:5353", ("10.0.0.1", 5353)),
        ("fd00::1", ("fd00::1", 53)),
        ("[fd00::1]", ("fd00::1", 53)),
        ("[fd00::1]:5353", ("fd00::1", 5353)),
        ("resolver.example", None),
        ("10.0.0.1:0", None),
    ],
)
def test_an_upstream_is_an_address_with_or_without_a_port(text, expected):
    assert address_of(text) == expected
