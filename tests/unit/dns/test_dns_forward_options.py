"""`forward`'s further options on the wire: TLS, the next forward, and EDNS options that rules of rewrite set."""

import asyncio
import datetime
import ipaddress
import ssl

import dns.edns
import dns.flags
import dns.rcode
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sampan.dns import config
from sampan.dns.lines import CorefileError
from sampan.dns.plugins.forward_options import TLS, Target, target_of
from support.resolvers import HOST, Resolver, address, nothing, response

WEB = "web.default.svc.cluster.local"


# --- what is written


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tls://9.9.9.9", Target(("9.9.9.9", 853), True)),
        ("tls://9.9.9.9:10853", Target(("9.9.9.9", 10853), True)),
        ("tls://9.9.9.9%dns.quad9.net", Target(("9.9.9.9", 853), True, "dns.quad9.net")),
        ("tls://9.9.9.9%dns.quad9.net:10853", Target(("9.9.9.9", 10853), True, "dns.quad9.net")),
        ("tls://[2620:fe::fe]:853", Target(("2620:fe::fe", 853), True)),
        ("tls://2620:fe::fe%dns.quad9.net", Target(("2620:fe::fe", 853), True, "dns.quad9.net")),
        ("dns://10.0.0.1", Target(("10.0.0.1", 53))),
        ("fe80::1%eth0", Target(("fe80::1%eth0", 53))),
        ("tls://dns.quad9.net", None),
    ],
)
def test_a_target_is_an_address_perhaps_over_tls_perhaps_with_a_name(text, expected):
    assert target_of(text) == expected


def options_of(*lines):
    (server,) = config.read("\n".join((". {", *lines, "}"))).servers
    return server.options("forward")


def test_the_files_of_tls_are_told_apart_by_their_number(tmp_path):
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_text("")

    def tls(*names):
        return options_of("root " + str(tmp_path), "forward . tls://9.9.9.9 {", "tls " + " ".join(names), "}").tls

    ca, cert, key = (str(tmp_path / name) for name in ("ca", "cert", "key"))
    assert tls() == TLS()
    assert tls("ca") == TLS(authorities=ca)
    assert tls("cert", "key") == TLS(cert, key)
    assert tls("cert", "key", "ca") == TLS(cert, key, ca)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (("tls_servername a", "policy x"), "4: forward: unknown policy 'x'; there are random, round_robin, sequential"),
        (("tls /no/such",), "3: forward: /no/such: no such file"),
        (("tls_servername",), "3: forward: 'tls_servername' takes 1 argument, not 0"),
        (("tls_servername a.example",), "2: forward: tls_servername and a name behind % contradict each other"),
        (("next MAYBE",), "3: forward: 'MAYBE' is not a response code"),
        (("spray",), "3: forward: unknown option 'spray'; there are except, expire, "),
        (
            ("health_check 1s domain",),
            "3: forward: unknown health_check option 'domain'; there are no_rec, domain",
        ),
    ],
)
def test_mistakes_are_told(lines, problem):
    with pytest.raises(CorefileError) as caught:
        config.read("\n".join((". {", "forward . tls://9.9.9.9%dns.quad9.net {", *lines, "}", "}")))
    assert str(caught.value).startswith(f"Corefile:{problem}")


# --- TLS


def certificate(directory, *, name, signer=None):
    """A key and a certificate for a name and this machine, in files; signed by itself or by another."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    issuer, signing = signer or (subject, key)
    names = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address(HOST))] if signer else [x509.DNSName(name)]
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
        .sign(signing, hashes.SHA256())
    )  # fmt: skip
    (directory / f"{name}.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (directory / f"{name}.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return subject, key


class TLSResolver(Resolver):
    """One that is asked over TLS only."""

    def __init__(self, behave, context):
        super().__init__(behave)
        self.context = context

    @property
    def to(self):
        return f"tls://{HOST}:{self.port}"

    async def start(self, stack):
        server = await asyncio.start_server(self._serve, HOST, 0, ssl=self.context)
        stack.callback(server.close)
        self.port = server.sockets[0].getsockname()[1]
        return self


@pytest.fixture
def tls(tmp_path):
    authority = certificate(tmp_path, name="ca")
    certificate(tmp_path, name="dns.example", signer=authority)
    certificate(tmp_path, name="client", signer=authority)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "ca.crt"))
    context.load_cert_chain(tmp_path / "dns.example.crt", tmp_path / "dns.example.key")
    return tmp_path, context


@pytest.mark.parametrize("name", ["tls_servername dns.example", ""])
def test_a_resolver_is_asked_over_tls_and_its_connection_kept(world, run, tls, name):
    folder, context = tls

    async def scenario():
        resolver = TLSResolver(address, context)
        await world.start(resolver, options=f"tls {folder}/ca.crt\n{name}", attempt=5)
        for number in range(3):
            answer = await world.ask(f"{number}.example.com")
            assert answer.answer[0][0].to_text() == "192.0.2.7"
        assert (len(resolver.asked_tcp), resolver.connections) == (3, 1)
        for counter, count in (("hits", 2), ("misses", 1)):
            family = f"coredns_proxy_conn_cache_{counter}_total"
            assert world.metrics.value(family, proto="tcp-tls", proxy_name="forward", to=resolver.to[6:]) == count

    run(scenario)


def test_our_own_certificate_is_shown(world, run, tls):
    folder, context = tls
    context.verify_mode = ssl.CERT_REQUIRED

    async def scenario():
        with_own = f"tls {folder}/client.crt {folder}/client.key {folder}/ca.crt"
        await world.start(TLSResolver(address, context), options=with_own, attempt=5)
        assert (await world.ask("example.com")).answer

    run(scenario)


@pytest.mark.parametrize("options", ["tls_servername other.example\ntls {0}/ca.crt", "tls_servername dns.example"])
def test_a_certificate_for_another_name_or_of_a_stranger_is_not_believed(world, run, tls, caplog, options):
    folder, context = tls

    async def scenario():
        resolver = TLSResolver(address, context)
        await world.start(resolver, options=options.format(folder), before="errors", attempt=5)
        assert (await world.ask("example.com")).rcode() == dns.rcode.SERVFAIL
        assert resolver.asked_tcp == []

    run(scenario)
    assert "certificate verify failed" in caplog.text


def test_health_is_asked_for_as_questions_are(world, run, tls):
    """A resolver that is reached over TLS alone gets well again, because its health is asked for over TLS."""
    folder, context = tls

    async def scenario():
        resolver = TLSResolver(nothing, context)
        options = f"tls {folder}/ca.crt\nhealth_check 10ms domain health.example"
        await world.start(resolver, options=options, attempt=0.2)
        await world.ask("example.com")
        resolver.behave = resolver.over_tcp = address
        async with asyncio.timeout(5):
            while not any(query.question[0].name.to_text() == "health.example." for query in resolver.asked_tcp):
                await asyncio.sleep(0.01)
        assert (await world.ask("example.com")).answer

    run(scenario)


# --- the next forward


def denying(query):
    return [response(query, rcode=dns.rcode.NXDOMAIN)]


def empty(query):
    return [response(query)]


@pytest.mark.parametrize(
    ("first", "options", "asked"),
    [
        (denying, "next NXDOMAIN", True),
        (denying, "next SERVFAIL REFUSED", False),
        (denying, "next_on_nodata", False),
        (empty, "next_on_nodata", True),
        (empty, "next NXDOMAIN", False),
        (address, "next NXDOMAIN\nnext_on_nodata", False),
    ],
)
def test_after_some_answers_the_next_forward_is_asked(world, run, first, options, asked):
    async def scenario():
        one, other = Resolver(first), Resolver(address)
        for resolver in (one, other):
            await resolver.start(world.stack)
        await world.start(before=f"forward . {one.to} {{\n{options}\n}}\nforward . {other.to}")
        answer = await world.ask("example.com")
        assert len(other.asked) == asked
        assert bool(answer.answer) == (asked or first is address)

    run(scenario)


def test_the_last_forward_has_no_next(world, run):
    async def scenario():
        await world.start(Resolver(denying), options="next NXDOMAIN")
        assert (await world.ask("example.com")).rcode() == dns.rcode.NXDOMAIN

    run(scenario)


def test_no_more_resolvers_are_tried_for_a_query_than_allowed(world, run):
    async def scenario():
        resolvers = [Resolver(nothing), Resolver(nothing), Resolver(address)]
        await world.start(*resolvers, options="max_connect_attempts 2", attempt=0.05)
        assert (await world.ask("example.com")).rcode() == dns.rcode.SERVFAIL
        assert resolvers[2].asked == []

    run(scenario)


# --- EDNS


def options_of_query(query):
    return {int(option.otype): option.to_wire() for option in query.options}


SENT = [
    ("edns0 local set 0xffee 0x61626364", {}, {0xFFEE: b"abcd"}),
    ("edns0 local set 65001 abcd", {}, {65001: b"abcd"}),
    ("edns0 local set 65001 {qname}", {}, {65001: b"example.com."}),
    ("edns0 local append 65001 new", {65001: b"old"}, {65001: b"old"}),
    ("edns0 local append 65001 new", {}, {65001: b"new"}),
    ("edns0 local replace 65001 new", {}, {}),
    ("edns0 local replace 65001 new", {65001: b"old"}, {65001: b"new"}),
    ("edns0 nsid set", {}, {3: b""}),
    ("edns0 subnet set 24 56", {}, {8: b"\0\1\x18\0" + bytes((127, 0, 0))}),
    ("edns0 local set 65001 {client_ip} revert", {}, {65001: bytes((127, 0, 0, 1))}),
    ("continue edns0 local set 65001 a\nrewrite edns0 local unset 65001", {}, {}),
    ("continue edns0 local set 65001 a\nrewrite edns0 local unset all", {}, {}),
    ("name a.example b.example", {65001: b"private"}, {}),
]


@pytest.mark.parametrize(("rule", "given", "sent"), SENT)
def test_resolvers_are_told_the_options_that_rules_name_and_no_others(world, run, rule, given, sent):
    async def scenario():
        resolver = Resolver(address)
        await world.start(resolver, before=f"rewrite {rule}")
        own = [dns.edns.GenericOption(code, data) for code, data in given.items()]
        assert (await world.ask("example.com", use_edns=0, options=own)).answer
        assert options_of_query(resolver.asked[0]) == sent

    run(scenario)


def test_what_was_asked_for_one_clients_network_is_not_kept_for_others(world, run):
    async def scenario():
        resolver = Resolver(address)
        await world.start(resolver, before="rewrite edns0 subnet set 24 56\ncache")
        for _ in range(2):
            await world.ask("example.com")
        assert len(resolver.asked) == 2

    run(scenario)


# --- cache


def test_answers_keep_their_time_to_live_if_so_told(world, run, monkeypatch):
    from sampan.dns.plugins import cache

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(cache, "time", clock)

    async def scenario():
        resolver = Resolver(address)
        await world.start(resolver, before="cache {\nkeepttl\n}")
        await world.ask("example.com")
        clock.now += 40
        answer = await world.ask("example.com")
        assert (answer.answer[0].ttl, len(resolver.asked)) == (60, 1)
        assert not answer.flags & dns.flags.AA

    run(scenario)


@pytest.mark.parametrize(
    ("line", "asked"), [("disable success", 2), ("disable success other.example", 1), ("disable denial", 1)]
)
def test_a_kind_of_answers_can_be_left_out_in_some_zones(world, run, line, asked):
    async def scenario():
        resolver = Resolver(address)
        await world.start(resolver, before=f"cache {{\n{line}\n}}")
        for _ in range(2):
            await world.ask("example.com")
        assert len(resolver.asked) == asked

    run(scenario)
