"""The packet path: what is answered, how, and what must not be answered at all."""

import struct

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.dns import config, wire
from sampan.dns.cluster import Cluster
from sampan.dns.generation import Generation
from sampan.dns.metrics import Metrics
from sampan.dns.responder import MAX_ENTRIES
from sampan.dns.wire import Malformed, NotAnswerable

WEB = "web.default.svc.cluster.local"
PEERS = "peers.default.svc.cluster.local"


def header(identity=1, flags=0x0100, questions=1, answers=0, authorities=0, additionals=0):
    return struct.pack("!6H", identity, flags, questions, answers, authorities, additionals)


def question(name=b"\x03web\x00", kind=1, klass=1):
    return name + struct.pack("!2H", kind, klass)


OPT = b"\0" + struct.pack("!HHIH", 41, 1232, 0, 0)


def test_the_case_of_the_question_is_kept(ask):
    response = ask("WeB.default.SVC.cluster.local")
    assert response.question[0].name.to_text() == "WeB.default.SVC.cluster.local."
    assert response.answer[0].name.to_text() == "WeB.default.SVC.cluster.local."


def test_flags_say_authoritative_and_recursion_available(ask):
    response = ask(WEB)
    assert response.flags == dns.flags.QR | dns.flags.AA | dns.flags.RD | dns.flags.RA
    assert not ask(WEB, flags=0).flags & dns.flags.RD


def test_edns_is_answered_with_edns(ask):
    assert ask(WEB).edns == -1
    response = ask(WEB, use_edns=0, payload=1232, want_dnssec=True)
    assert (response.edns, response.payload) == (0, 1232)
    assert response.ednsflags & dns.flags.DO
    cookie = dns.edns.GenericOption(10, b"12345678")
    assert ask(WEB, use_edns=0, options=[cookie]).rcode() == dns.rcode.NOERROR


def test_the_same_question_is_answered_from_the_table_with_each_ones_id(ask):
    first, second = ask(WEB), ask(WEB)
    assert first.id != second.id or first.answer == second.answer
    ask.responder.settle()
    assert ask.metrics.value("coredns_dns_requests_total", proto="udp", type="A", zone=".") == 2


def test_several_addresses_take_turns_to_be_first(ask):
    firsts = [ask(PEERS).answer[0][0].to_text() for _ in range(6)]
    packets = [ask.answer(dns.message.make_query(PEERS, "A", id=7).to_wire()) for _ in range(4)]
    assert len(set(packets)) == 2
    assert len(firsts) == 6


def test_an_answer_too_large_for_udp_is_cut_off_and_says_so(cluster, ask, make):
    endpoints = [{"addresses": [f"10.244.9.{index}"]} for index in range(1, 101)]
    cluster.set_slice(None, make.endpoint_slice("peers", endpoints, name="many"))
    small = ask(PEERS)
    assert small.flags & dns.flags.TC
    assert len(small.to_wire()) <= 512
    larger = ask(PEERS, use_edns=0, payload=1232)
    assert larger.flags & dns.flags.TC
    assert len(small.answer[0]) < len(larger.answer[0]) < 102
    whole = ask(PEERS, tcp=True)
    assert not whole.flags & dns.flags.TC
    assert len(whole.answer[0]) == 102


@pytest.mark.parametrize("kind", ["AXFR", "IXFR"])
def test_transfers_are_refused(ask, kind):
    assert ask("cluster.local", kind, tcp=True).rcode() == dns.rcode.REFUSED


def test_other_classes_are_refused(ask):
    assert ask("version.bind", "TXT", rdclass="CH").rcode() == dns.rcode.REFUSED


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\0" * 11,
        header(flags=0x8000) + question(),
        dns.message.make_response(dns.message.make_query("a", "A")).to_wire(),
    ],
)
def test_what_is_no_query_gets_no_answer(ask, packet):
    assert ask.answer(packet) is None
    with pytest.raises(NotAnswerable):
        wire.parse_query(packet)


@pytest.mark.parametrize(
    ("packet", "rcode"),
    [
        (header(questions=0), wire.FORMERR),
        (header(questions=2) + question() * 2, wire.FORMERR),
        (header(answers=1) + question(), wire.FORMERR),
        (header() + b"\x03we", wire.FORMERR),
        (header() + b"\x03web", wire.FORMERR),
        (header() + b"\x03web\0\0", wire.FORMERR),
        (header() + b"\xc0\x0c\0\1\0\1", wire.FORMERR),
        (header() + b"\x40" + b"a" * 64 + b"\0\0\1\0\1", wire.FORMERR),
        (header() + b"\x3f" * 300 + b"\0\0\1\0\1", wire.FORMERR),
        (header(additionals=1) + question(), wire.FORMERR),
        (header(additionals=1) + question() + OPT[:-1], wire.FORMERR),
        (header(additionals=1) + question() + b"\1a" + OPT, wire.FORMERR),
        (header(additionals=2) + question() + OPT * 2, wire.FORMERR),
        (header(flags=0x2000) + question(), wire.NOTIMP),
        (header(flags=0x2800) + question(), wire.NOTIMP),
        (header(additionals=1) + question() + b"\0" + struct.pack("!HHIH", 41, 1232, 1 << 16, 0), wire.BADVERS),
    ],
)
def test_a_malformed_query_is_answered_with_an_error_code(ask, packet, rcode):
    with pytest.raises(Malformed) as caught:
        wire.parse_query(packet)
    assert caught.value.rcode == rcode
    answer = ask.answer(packet)
    assert answer[:2] == packet[:2]
    assert answer[2] & 0x80
    assert answer[3] & 0xF == rcode & 0xF


CLIENT = ("192.0.2.1", 5353)
METRICS = Metrics()
RESPONDER = Generation(
    config.read("cluster.local {\n kubernetes\n}"), Cluster(), METRICS, domain="cluster.local", hosts=("0.0.0.0",)
).responders["0.0.0.0", 53]
LABELS = st.sampled_from([b"web", b"default", b"svc", b"cluster", b"local", b"_http", b"\xff", b"a.b", b"x" * 63])


@given(st.lists(LABELS, max_size=5).map(lambda labels: [*labels, b"cluster", b"local"]), st.integers(0, 65535))
def test_whatever_is_asked_of_the_zone_is_answered_with_a_valid_message(labels, kind):
    name = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    if len(name) > 255:
        return
    packet = header(7) + question(name, kind)
    answer = RESPONDER.answer_udp(packet, CLIENT)
    message = dns.message.from_wire(answer)
    assert message.id == 7
    assert len(answer) <= 512


@given(st.binary(max_size=80), st.booleans())
def test_no_packet_breaks_the_responder(data, valid_header):
    packet = (header() + data) if valid_header else data
    answer = RESPONDER.answer_udp(packet, CLIENT)
    assert answer is None or (answer[:2] == packet[:2] and answer[2] & 0x80)


def test_the_table_stays_small(ask):
    responder = RESPONDER
    responder.forget()
    for index in range(MAX_ENTRIES + 10):
        name = f"n{index}"
        encoded = bytes((len(name),)) + name.encode() + b"\x07cluster\x05local\0"
        responder.answer_udp(header() + question(encoded), CLIENT)
    assert len(responder._entries) <= MAX_ENTRIES


@pytest.mark.parametrize("name", ["a..b", "x" * 64, ".".join(["x" * 63] * 4)])
def test_what_is_no_name_cannot_be_encoded(name):
    with pytest.raises(ValueError, match="not a domain name"):
        wire.encode_name(name)


def test_names_are_encoded_as_dnspython_does():
    assert wire.encode_name("a.bc.def") == dns.name.from_text("a.bc.def.").to_wire()
    assert wire.encode_name("") == b"\0"


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        (b"web", "web"),
        (b"x\n[error] forged\x1b[31m", "x\\010[error]\\ forged\\027[31m"),
        (b"a.b", "a\\.b"),
        (b'a"\\(;)@', 'a\\"\\\\\\(\\;\\)\\@'),
        (b"\xff\x00\x7f", "\\255\\000\\127"),
    ],
)
def test_names_are_shown_escaped(label, shown):
    """RFC 4343 section 2.1: nothing in a name can end a line of a log or drive a terminal."""
    assert wire.presentation(f"{wire.decode_label(label)}.example") == f"{shown}.example."


def test_distinct_packets_for_one_name_share_what_is_kept(ask):
    """EDNS options, sizes, spellings and what follows the records make no new answers, only new packets of them."""
    responder = RESPONDER
    responder.forget()
    size = len(PEERS) + 2
    for number in range(300):
        spelt = "".join(c.upper() if number >> at % 8 & 1 else c for at, c in enumerate(PEERS))
        asked = question(wire.encode_name(spelt))
        option = struct.pack("!2H", 65001, 8) + number.to_bytes(8, "big")
        opt = struct.pack("!BHHIH", 0, wire.OPT, 512 + number, 0, len(option)) + option
        answer = responder.answer_udp(header(additionals=1) + asked + opt + bytes(number % 3), CLIENT)
        assert answer[12 : 12 + size] == asked[:size]
        assert struct.unpack("!H", answer[-8:-6]) == (512 + number,)
    assert len(responder._entries) == 1
    assert not responder._packets


def test_a_zero_byte_in_a_label_is_part_of_the_name(ask):
    """The quick reading of a name ends at the first zero byte; it must not take this for the name before it."""
    responder = RESPONDER
    responder.forget()
    responder.answer_udp(header() + question(wire.encode_name(WEB)), CLIENT)
    longer = question(wire.encode_name(WEB)[:-1] + b"\x03\0\x01\x00\x00")
    answer = responder.answer_udp(header() + longer, CLIENT)
    assert answer[12 : 12 + len(longer)] == longer
    assert len(responder._entries) == 1
