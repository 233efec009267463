"""A hundred thousand mutated packets: no crash, no answer to what must not be answered, and no growing memory."""

import gc
import random
import struct
import sys

import dns.message
import pytest

from sampan.dns import decode, wire
from sampan.dns.responder import HOT_SIZE
from support.resolvers import response

PACKETS = 100_000
CLIENT = ("192.0.2.1", 5353)
NAMES = ("web.default.svc.cluster.local", "_http._tcp.peers.default.svc.cluster.local", "5.0.96.10.in-addr.arpa",
         "out.default.svc.cluster.local", "none.cluster.local", "10-1-2-3.default.pod.cluster.local")  # fmt: skip


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


def check(packet, answer):
    if answer is None:
        assert must_not_be_answered(packet)
        return
    assert not must_not_be_answered(packet)
    if isinstance(answer, bytes):
        assert answer[:2] == packet[:2]
        assert answer[2] & 0x80
        assert len(answer) <= wire.MAX_UDP_SIZE
    else:
        answer.close()


def test_no_packet_harms_the_server_and_memory_stays_flat(ask):
    chance = random.Random(4)
    packets = list(seeds())
    responder = ask.responder
    sizes = []
    for number in range(PACKETS):
        packet = mutated(chance.choice(packets), chance)
        check(packet, responder.answer_udp(packet, CLIENT))
        if number % 25_000 == 24_999:
            responder.forget()
            gc.collect()
            sizes.append(sys.getallocatedblocks())
    assert len(responder._hot) <= HOT_SIZE
    assert ask.metrics.value("coredns_panics_total") == 0
    assert max(sizes) - min(sizes) < 5_000


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
