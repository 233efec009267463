"""Mutated packets against each kind of configuration: no crash, no answer to what must not be answered, and no growing
memory. `SAMPAN_FUZZ_PACKETS` is how many packets meet each configuration.
"""

import gc
import os
import random
import struct
import sys

import dns.message
import pytest

from sampan.dns import decode, wire
from sampan.dns.plugins import cache, forward
from sampan.dns.responder import MAX_ENTRIES
from sampan.dns.wire import Record, Reply
from support.resolvers import response

PACKETS = int(os.environ.get("SAMPAN_FUZZ_PACKETS", "20000"))
CLIENTS = (("192.0.2.1", 5353), ("10.244.0.9", 5353), ("fd00::1", 5353))
NAMES = ("web.default.svc.cluster.local", "_http._tcp.peers.default.svc.cluster.local", "5.0.96.10.in-addr.arpa",
         "out.default.svc.cluster.local", "none.cluster.local", "10-1-2-3.default.pod.cluster.local",
         "example.com.default.svc.cluster.local", "a.localhost", "version.bind", "mail.corp")  # fmt: skip


def seeds():
    for name in NAMES:
        for kind in ("A", "AAAA", "SRV", "PTR", "ANY", "TXT"):
            yield dns.message.make_query(name, kind).to_wire()
            yield dns.message.make_query(name, kind, use_edns=0, payload=4096, want_dnssec=True).to_wire()


def mutated(packet, chance):
    data = bytearray(packet)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data)) if data else 0
        match chance.randrange(5):
            case 0 if data:
                data[at] = chance.randrange(256)
            case 1 if data:
                data[at] ^= 1 << chance.randrange(8)
            case 2:
                del data[at:]
            case 3:
                data[at:at] = chance.randbytes(chance.randint(1, 9))
            case 4 if data:
                data[at:at] = data[at : at + chance.randint(1, 40)]
    return bytes(data)


def must_not_be_answered(packet):
    return len(packet) < wire.HEADER_SIZE or packet[2] & 0x80


def check(packet, answer, dropping=False):
    if answer is None:
        assert dropping or must_not_be_answered(packet)
        return
    assert not must_not_be_answered(packet)
    if isinstance(answer, bytes):
        assert answer[:2] == packet[:2]
        assert answer[2] & 0x80
        assert len(answer) <= wire.MAX_UDP_SIZE
    else:
        answer.close()
        raise AssertionError("nobody in this chain waits")


KUBERNETES = "kubernetes cluster.local in-addr.arpa {\npods insecure\nfallthrough in-addr.arpa\n}\n"
CONFIGURATIONS = {
    "plain": "loadbalance\n",
    "cache": "cache {\nprefetch 1 1m 90%\nserve_stale\n}\n",
    "rewrite": r"""
        rewrite continue name regex (.*)\.svc\.(.*) {1}.svc.{2} answer name (.*)\.svc\.(.*) {2}.svc.{1}
        rewrite continue name substring web peers answer auto
        rewrite continue edns0 local set 65001 {qname}
        rewrite continue edns0 subnet replace 24 56
        rewrite continue ttl suffix local 1-3
        rewrite continue cname suffix com org
        rewrite continue class CH IN
        rewrite type TXT A
        """,
    "autopath": "autopath @kubernetes\nrewrite name suffix .corp .cluster.local answer auto\ncache\n",
    "template": r"""
        template ANY ANY cluster.local {
            match "(?P<first>.*)[.](?P<rest>[^.]+)[.]cluster[.]local[.]$"
            answer "{{ .Name }} 60 IN TXT {{ .Type }}"
            answer "{{ .Group.rest }} 60 {{ .Class }} CNAME {{ .Group.first }}.{{ .Zone }}"
            ederror 4 "made up"
            fallthrough svc.cluster.local
        }
        """,
    "everything": """
        nsid
        local
        any
        chaos
        minimal
        header {
            set ad
            query set cd
        }
        acl {
            block type MX
            drop net 10.0.0.0/8
        }
        bufsize 600
        log
        errors {
            consolidate 1h .*
        }
        hosts {
            10.9.9.9 web.default.svc.cluster.local
            fallthrough
        }
        loop
        """,
}
"""The plugins that look into packets, each under the same packets."""


def elsewhere(query):
    """An answer from outside that has a bit of everything."""
    alias = Record(query.name, wire.CNAME, wire.encode_name("example.com"), 60)
    records = (alias, Record("example.com", wire.A, bytes((192, 0, 2, 7)), 0), Record(query.name, 99, b"x", 9))
    return Reply(answers=records, authority=(alias,), authoritative=False)


def never_waiting(monkeypatch):
    """Forwarding answers at once, so that a packet's whole way is gone before the next."""

    async def serve(self, request, next):
        forward.question_packet(request.query, request.options)
        return elsewhere(request.query)

    monkeypatch.setattr(forward.Forward, "serve", serve)
    monkeypatch.setattr(cache.Cache, "_renew", lambda self, request, next, entry: None)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_no_packet_harms_the_server_and_memory_stays_flat(asker, monkeypatch, caplog, name):
    never_waiting(monkeypatch)
    caplog.set_level("ERROR", "sampan.dns.responder")
    ask = asker(f". {{\n{KUBERNETES}{CONFIGURATIONS[name]}\nforward . 192.0.2.53\n}}")
    chance = random.Random(name)
    packets = list(seeds())
    responder = ask.responder
    sizes = []
    for number in range(PACKETS):
        packet = mutated(chance.choice(packets), chance)
        check(packet, responder.answer_udp(packet, chance.choice(CLIENTS)), dropping=name == "everything")
        if number % (PACKETS // 4) == PACKETS // 4 - 1:
            ask.generation.forget()
            for plugin in ask.generation.plugins:
                if isinstance(plugin, cache.Cache):
                    for kept in plugin._entries.values():
                        kept.clear()
            gc.collect()
            sizes.append(sys.getallocatedblocks())
    assert len(responder._entries) <= MAX_ENTRIES
    assert ask.metrics.value("coredns_panics_total") == 0
    assert max(sizes[1:]) - min(sizes[1:]) < 5_000
    counted = ask.metrics.value("coredns_dns_requests_total")
    assert counted == ask.metrics.value("coredns_dns_responses_total") > PACKETS / 4


def test_answers_of_others_that_are_mutated_are_read_or_refused():
    query = dns.message.make_query("a.example", "MX")
    records = [
        ("a.example.", 60, "IN", "MX", "10 mail.a.example."),
        ("a.example.", 60, "IN", "CNAME", "b.a.example."),
        ("a.example.", 60, "IN", "SOA", "ns.a.example. admin.a.example. 1 2 3 4 5"),
    ]
    packet = response(query, *records)
    chance = random.Random(5)
    for _ in range(20_000):
        data = mutated(packet, chance)
        try:
            reply, _ = decode.parse_answer(data)
        except decode.Unreadable:
            continue
        for record in reply.answers:
            assert len(record.name) < 256


@pytest.mark.parametrize("offset", range(12, 40))
def test_pointers_never_lead_round_in_circles(offset):
    packet = struct.pack("!6H", 1, 0x8180, 1, 0, 0, 0) + b"\3abc" * 5 + struct.pack("!H", 0xC000 | offset) + b"\0\1\0\1"
    try:
        decode.parse_answer(packet)
    except decode.Unreadable:
        pass
