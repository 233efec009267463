"""Addresses take turns to be first: every one of them, and in whatever part of them an answer has room for."""

import dns.message
import pytest

from sampan.dns import turning, wire
from sampan.dns.wire import AAAA, CNAME, A, Record, Reply, encode_name

NAME = "peers.default.svc.cluster.local"


def query(**options):
    return wire.parse_query(dns.message.make_query(NAME, "A", **options).to_wire())


def addresses(count, owner=NAME, kind=A):
    size = 4 if kind == A else 16
    return tuple(Record(owner, kind, number.to_bytes(size, "big"), 30) for number in range(count))


@pytest.mark.parametrize("edns", [{}, {"use_edns": 0, "payload": 1232}, {"use_edns": 0, "payload": 4096}])
@pytest.mark.parametrize("kind", [A, AAAA])
@pytest.mark.parametrize("count", [1, 2, 3, 8, 9, 30, 300])
def test_each_turn_is_what_would_be_encoded_for_it(count, kind, edns):
    asked, reply = query(**edns), Reply(answers=addresses(count, kind=kind))
    answers = turning.ready(asked, reply, asked.udp_size)
    assert len(answers) == count
    for turn in range(count):
        assert answers[turn] == wire.build(asked, turning.turned(reply, turn), asked.udp_size)


@pytest.mark.parametrize(("count", "encoded"), [(1, 1), (2, 2), (8, 8), (9, 5), (100, 8)])
def test_behind_an_alias_some_turns_are_encoded_evenly_spread(count, encoded):
    alias = Record(NAME, CNAME, encode_name("x.y"), 30)
    reply = Reply(answers=(alias, *addresses(count, "x.y")))
    answers = turning.ready(query(), reply, 4096)
    assert len(answers) == encoded
    firsts = [dns.message.from_wire(b"\0\0" + answers[turn]).answer[1].to_text().split()[-1] for turn in range(encoded)]
    assert len(set(firsts)) == encoded
    for turn in range(encoded):
        assert dns.message.from_wire(b"\0\0" + answers[turn]).answer[0].rdtype == CNAME


def test_nothing_turns_without_addresses():
    reply = Reply(answers=(Record(NAME, CNAME, encode_name("x.y"), 30),))
    assert turning.turns(reply) == 1
    assert turning.turned(reply, 0) is reply
