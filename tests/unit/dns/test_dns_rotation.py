"""Addresses take turns to be first: every one of them, and in whatever part of them an answer has room for."""

import dns.flags
import dns.message
import pytest

from sampan.dns import rotation, wire
from sampan.dns.wire import AAAA, CNAME, A, Record, Reply, encode_name

NAME = "peers.default.svc.cluster.local"


def query(**options):
    return wire.parse_query(dns.message.make_query(NAME, "A", **options).to_wire())


def addresses(count, owner=NAME, kind=A):
    size = 4 if kind == A else 16
    return tuple(Record(owner, kind, number.to_bytes(size, "big"), 30) for number in range(count))


def answers_of(asked, reply):
    """Every rotation, encoded for the query as it was asked."""
    opt = wire.encode_opt(asked.edns_size, asked.edns_flags) if asked.edns_size else b""
    prepared = rotation.prepare(asked, reply, rotating=True)
    return prepared, prepared.encoder(asked.question, asked.udp_size, opt)


@pytest.mark.parametrize("edns", [{}, {"use_edns": 0, "payload": 1232}, {"use_edns": 0, "payload": 4096}])
@pytest.mark.parametrize("kind", [A, AAAA])
@pytest.mark.parametrize("count", [1, 2, 3, 8, 9, 30, 300])
def test_each_rotation_is_what_would_be_encoded_for_it(count, kind, edns):
    asked, reply = query(**edns), Reply(answers=addresses(count, kind=kind))
    _, encode = answers_of(asked, reply)
    for turn in range(count):
        assert encode(turn) == wire.build(asked, rotation.rotate(reply, turn), asked.udp_size)


@pytest.mark.parametrize("payload", [512, 700, 1231, 1232, 2000, 4095, 4096])
def test_answers_that_are_not_rings_fit_into_any_size_and_say_if_they_are_cut(payload):
    targets = [f"pod-{number}.{NAME}" for number in range(60)]
    reply = Reply(
        answers=tuple(Record(NAME, wire.SRV, b"\0\0\0\1\0\x50" + encode_name(each)) for each in targets),
        additional=tuple(Record(each, A, bytes(4)) for each in targets),
    )
    asked = query(use_edns=0, payload=payload)
    _, encode = answers_of(asked, reply)
    message = dns.message.from_wire(b"\0\0" + encode(0))
    assert len(encode(0)) + 2 <= payload
    assert bool(message.flags & dns.flags.TC) == (sum(map(len, message.answer)) < 60)


@pytest.mark.parametrize(("count", "encoded"), [(1, 1), (2, 2), (8, 8), (9, 5), (100, 8)])
def test_behind_an_alias_some_rotations_are_encoded_evenly_spread(count, encoded):
    alias = Record(NAME, CNAME, encode_name("x.y"), 30)
    reply = Reply(answers=(alias, *addresses(count, "x.y")))
    _, encode = answers_of(query(), reply)
    messages = [dns.message.from_wire(b"\0\0" + encode(turn)) for turn in range(encoded)]
    firsts = [message.answer[1].to_text().split()[-1] for message in messages if len(message.answer) > 1]
    assert len(set(firsts)) == encoded
    assert all(message.answer[0].rdtype == CNAME for message in messages)


def test_a_ring_of_5000_addresses_stays_below_a_megabyte():
    prepared, _ = answers_of(query(), Reply(answers=addresses(5000)))
    assert prepared.size < 1 << 20


def test_nothing_rotates_without_addresses():
    reply = Reply(answers=(Record(NAME, CNAME, encode_name("x.y"), 30),))
    assert rotation.rotations(reply) == 1
    assert rotation.rotate(reply, 0) is reply
