"""The rules of the transport, byte by byte, over UDP and TCP: sizes, EDNS, error codes, and what gets no answer."""

import contextlib
import shutil
import socket
import struct
import subprocess

import dns.edns
import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

from support.dnsobjects import at, endpoints, headless
from support.dnsworld import COREFILE, HOST, running_dns

SVC = "default.svc.cluster.local"
FOUR, MANY, THOUSANDS, PAIRS = (f"{name}.{SVC}" for name in ("four", "many", "thousands", "pairs"))
COUNT = 300
SECONDS = 10


def spread(count, net):
    return [f"10.{net}.{number // 250}.{number % 250 + 1}" for number in range(count)]


def crowd(name, count, net):
    """A headless Service with many endpoints, in slices of a thousand."""
    addresses = spread(count, net)
    slices = [
        endpoints(name, str(at_), *(at(text) for text in addresses[at_ : at_ + 1000])) for at_ in range(0, count, 1000)
    ]
    return headless(name, "http:TCP:8080"), *slices


def pairs():
    """A headless Service of as many hosts with an address of each family."""
    fours = [at(text, f"host-{number}") for number, text in enumerate(spread(COUNT, 102))]
    sixes = [at(f"fd00:102::{number + 1:x}", f"host-{number}") for number in range(COUNT)]
    return headless("pairs", "http:TCP:8080"), endpoints("pairs", "4", *fours), endpoints("pairs", "6", *sixes)


@contextlib.contextmanager
def running(directive):
    """A server whose Corefile has a directive more, before two Services with many endpoints."""
    with running_dns(COREFILE.replace("    cache 30\n", f"    {directive}\n")) as found:
        found.create(*crowd("many", COUNT, 100), *crowd("thousands", 5000, 101), *pairs())
        found.settle()
        yield found


@pytest.fixture(scope="module")
def world():
    with running("") as found:
        yield found


@pytest.fixture(scope="module", params=[512, 1232])
def bounded(request):
    with running(f"bufsize {request.param}") as found:
        yield found, request.param


def packet(name, kind="A", **options):
    return dns.message.make_query(name, kind, **options).to_wire()


def over_udp(world, data):
    """The bytes that come back."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(SECONDS)
        client.sendto(data, (HOST, world.port))
        return client.recv(65535)


@contextlib.contextmanager
def connection(world):
    with socket.create_connection((HOST, world.port), SECONDS) as client, client.makefile("rb") as stream:
        yield client, stream


def framed(data):
    return struct.pack("!H", len(data)) + data


def read_framed(stream):
    return stream.read(int.from_bytes(stream.read(2), "big"))


def over_tcp(world, data):
    with connection(world) as (client, stream):
        client.sendall(framed(data))
        return read_framed(stream)


WAYS = pytest.mark.parametrize("send", [over_udp, over_tcp])


# --- sizes


@pytest.mark.parametrize("kind", ["A", "SRV"])
def test_without_edns_an_answer_over_udp_has_at_most_512_bytes_and_says_that_it_was_cut(world, kind):
    data = over_udp(world, packet(MANY, kind))
    answer = dns.message.from_wire(data)
    assert len(data) <= 512
    assert answer.flags & dns.flags.TC
    assert answer.answer
    assert answer.edns == -1


SIZES = pytest.mark.parametrize("size", [0, 512, 700, 1232, 1452, 4096, 65535])


@SIZES
@pytest.mark.parametrize("kind", ["A", "SRV"])
def test_with_edns_it_has_at_most_what_the_client_takes_and_never_more_than_4096(world, size, kind):
    check_size(world, size, kind, min(max(size, 512), 4096))


@SIZES
def test_bufsize_sets_a_lower_limit_for_all(bounded, size):
    world, cap = bounded
    check_size(world, size, "A", min(max(size, 512), cap))


def check_size(world, size, kind, allowed):
    """As many records as fit: one more would be too much."""
    data = over_udp(world, packet(MANY, kind, use_edns=0, payload=size))
    answer = dns.message.from_wire(data)
    largest = 16 if kind == "A" else 100
    assert allowed - largest < len(data) <= allowed
    assert answer.flags & dns.flags.TC
    assert answer.edns == 0


def test_every_address_comes_round_though_an_answer_has_room_for_some(world):
    """And each is the first of some answer: that is the one that most clients take."""
    query = packet(MANY)
    firsts = {first_address(over_udp(world, query)) for _ in range(COUNT)}
    assert firsts == set(spread(COUNT, 100))


def first_address(data):
    """In the order of the message, which dnspython keeps."""
    return dns.message.from_wire(data).answer[0][0].to_text()


def test_what_fits_is_not_cut(world):
    answer = dns.message.from_wire(over_udp(world, packet(f"10-100-0-1.{MANY}", use_edns=0)))
    assert not answer.flags & dns.flags.TC


@pytest.mark.parametrize("kind", ["A", "SRV"])
def test_over_tcp_hundreds_of_endpoints_come_whole(world, kind):
    answer = dns.message.from_wire(over_tcp(world, packet(MANY, kind, use_edns=0, payload=512)))
    assert not answer.flags & dns.flags.TC
    assert len(answer.answer[0]) == COUNT
    if kind == "SRV":
        assert {rdata.weight for rdata in answer.answer[0]} == {1}
        assert len(answer.additional) == COUNT
        assert {rdata.target for rdata in answer.answer[0]} == {rrset.name for rrset in answer.additional}


def test_over_tcp_thousands_come_as_far_as_a_message_can_be_long(world):
    data = over_tcp(world, packet(THOUSANDS))
    answer = dns.message.from_wire(data)
    assert 65535 - 16 < len(data) <= 65535
    assert answer.flags & dns.flags.TC


def test_names_are_compressed(world):
    """Each address costs 16 bytes: a pointer to the question, and nothing of the name."""
    query = packet(MANY)
    assert len(over_tcp(world, query)) == len(query) + 16 * COUNT


def test_pointers_lead_back_and_never_further_than_they_can_reach(world):
    """Hosts that are named twice behind the 16,384 bytes that a pointer can reach, read by dnspython."""
    data = over_tcp(world, packet(PAIRS, "SRV"))
    assert len(data) > 2 * 0x4000
    found = {}
    for rrset in dns.message.from_wire(data).additional:
        found.setdefault(rrset.name.to_text(True), []).extend(rdata.to_text() for rdata in rrset)
    assert found == {
        f"host-{number}.{PAIRS}": [f"10.102.{number // 250}.{number % 250 + 1}", f"fd00:102::{number + 1:x}"]
        for number in range(COUNT)
    }


@pytest.mark.skipif(not shutil.which("dig"), reason="dig is not installed")
def test_dig_finds_its_way_from_a_cut_answer_to_tcp(world):
    command = ["dig", f"@{HOST}", "-p", str(world.port), "+noedns", MANY]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    assert "Truncated, retrying in TCP mode" in text
    assert f"ANSWER: {COUNT}," in text


# --- EDNS (RFC 6891)


@WAYS
def test_edns_is_answered_with_version_0_and_no_edns_with_none(world, send):
    answer = dns.message.from_wire(send(world, packet(FOUR, use_edns=0, payload=600, want_dnssec=True)))
    assert answer.edns == 0
    assert answer.ednsflags & dns.flags.DO
    assert answer.options == ()
    assert dns.message.from_wire(send(world, packet(FOUR))).edns == -1


@WAYS
def test_options_that_are_not_known_are_ignored(world, send):
    cookie = dns.edns.GenericOption(10, b"12345678")
    unknown = dns.edns.GenericOption(65001, b"?")
    answer = dns.message.from_wire(send(world, packet(MANY, use_edns=0, options=[cookie, unknown])))
    assert answer.rcode() == dns.rcode.NOERROR
    assert answer.options == ()


@WAYS
@pytest.mark.parametrize("version", [1, 255])
def test_other_versions_of_edns_are_refused_by_an_answer_in_version_0(world, send, version):
    query = dns.message.make_query(MANY, "A", use_edns=version)
    answer = dns.message.from_wire(send(world, query.to_wire()))
    assert answer.rcode() == dns.rcode.BADVERS
    assert answer.edns == 0
    assert answer.answer == []
    assert query.is_response(answer)


# --- error codes


def header(flags=0x0100, questions=1, answers=0, authorities=0, additionals=0):
    return struct.pack("!6H", 4711, flags, questions, answers, authorities, additionals)


QUESTION = b"\4many\7default\3svc\7cluster\5local\0\0\1\0\1"


@WAYS
@pytest.mark.parametrize("opcode", [1, 2, 4, 5, 6, 15])
def test_only_queries_are_implemented(world, send, opcode):
    answer = send(world, header(opcode << 11) + QUESTION)
    assert answer == struct.pack("!6H", 4711, 0x8000 | opcode << 11 | dns.rcode.NOTIMP, 0, 0, 0, 0)


@WAYS
@pytest.mark.parametrize(
    "data",
    [
        header(questions=0),
        header(questions=2) + 2 * QUESTION,
        header(questions=2) + QUESTION,
        header(answers=1) + QUESTION,
        header() + QUESTION[:-3],
        header() + b"\xc0\x0c\0\1\0\1",
        header(additionals=1) + QUESTION,
    ],
)
def test_what_is_not_one_whole_question_is_a_format_error(world, send, data):
    answer = send(world, data)
    assert answer == struct.pack("!6H", 4711, 0x8100 | dns.rcode.FORMERR, 0, 0, 0, 0)


@WAYS
@pytest.mark.parametrize("klass", ["CH", "HS", "ANY", "NONE"])
def test_other_classes_than_internet_are_refused(world, send, klass):
    query = dns.message.make_query("version.bind", "TXT", rdclass=klass)
    answer = dns.message.from_wire(send(world, query.to_wire()))
    assert (answer.rcode(), answer.answer) == (dns.rcode.REFUSED, [])
    assert query.is_response(answer)


@WAYS
@pytest.mark.parametrize("kind", ["AXFR", "IXFR"])
def test_transfers_are_refused(world, send, kind):
    answer = dns.message.from_wire(send(world, packet("cluster.local", kind)))
    assert (answer.rcode(), answer.answer) == (dns.rcode.REFUSED, [])


# --- no answer


def test_an_answer_is_never_answered_over_udp(world):
    """Two servers would else keep each other busy for ever. The first thing that comes back is for the query behind."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(SECONDS)
        for flags in (0x8000, 0x8180, 0x8400, 0xFFFF):
            client.sendto(header(flags) + QUESTION, (HOST, world.port))
        client.sendto(packet(FOUR, id=99), (HOST, world.port))
        assert dns.message.from_wire(client.recv(65535)).id == 99


def test_nor_over_tcp_where_it_ends_the_connection(world):
    with connection(world) as (client, stream):
        client.sendall(framed(header(0x8180) + QUESTION))
        assert stream.read() == b""


# --- TCP (RFC 7766)


def test_queries_may_follow_each_other_in_one_segment(world):
    names = [f"10-100-0-{number}.{MANY}" for number in range(1, 60)]
    with connection(world) as (client, stream):
        client.sendall(b"".join(framed(packet(name, id=number)) for number, name in enumerate(names)))
        answers = [dns.message.from_wire(read_framed(stream)) for _ in names]
    assert sorted(answer.id for answer in answers) == list(range(len(names)))
    for answer in answers:
        assert answer.question[0].name.to_text(True) == names[answer.id]
        assert len(answer.answer[0]) == 1


def test_a_query_may_come_byte_by_byte(world):
    with connection(world) as (client, stream):
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in framed(packet(MANY)):
            client.sendall(bytes((byte,)))
        assert len(dns.message.from_wire(read_framed(stream)).answer[0]) == COUNT


def test_one_who_never_reads_does_not_keep_others_waiting(world):
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((HOST, world.port))
        client.sendall(100 * framed(packet(THOUSANDS)))
        query = dns.message.make_query(MANY, "A")
        assert dns.query.tcp(query, HOST, SECONDS, world.port).answer
