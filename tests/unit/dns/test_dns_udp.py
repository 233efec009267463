"""Answers over UDP come from the address that was asked, whatever the machine's other addresses are."""

import socket

import dns.asyncquery
import dns.message
import pytest

from sampan.dns import udp
from sampan.dns.server import DNSServer
from support.resolvers import Resolver, address

WEB = "web.default.svc.cluster.local"
SECONDS = 5
TRIE = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.244.0.0/24 2 0 2
        |-- 10.244.0.0
           /24 link UNICAST
        |-- 10.244.0.3
           /32 host LOCAL
        |-- 10.244.0.255
           /32 link BROADCAST
        |-- 127.0.0.1
           /32 host LOCAL
Local:
        |-- 10.244.0.3
           /32 host LOCAL
"""
SECOND = "10.0.0.9\n           /32 host LOCAL"
LOOPBACK_6 = f"{'0' * 31}1 01 80 10 80       lo\n"


@pytest.mark.parametrize("name", [WEB, "www.example.com"])
@pytest.mark.parametrize("asked", ["127.0.0.1", "127.0.0.2", "127.9.9.9"])
def test_an_answer_comes_from_the_address_that_was_asked(world, run, monkeypatch, asked, name):
    """At once, or after another resolver has been asked; dnspython takes it from nowhere else."""
    monkeypatch.setattr(udp, "several_addresses", lambda family: True)

    async def scenario():
        await world.start(Resolver(address))
        everywhere = DNSServer(world.server.responder)
        world.stack.push_async_callback(everywhere.close)
        port = await everywhere.start("0.0.0.0", 0)
        query = dns.message.make_query(name, "A")
        for _ in range(2):
            assert (await dns.asyncquery.udp(query, asked, SECONDS, port)).answer

    run(scenario)


def test_over_ipv6_too(monkeypatch):
    monkeypatch.setattr(udp, "several_addresses", lambda family: True)
    try:
        found = udp.prepare(udp.bind("::", 0))
    except OSError:
        pytest.skip("no IPv6 here")
    with found.socket, socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
        found.socket.settimeout(SECONDS)
        client.settimeout(SECONDS)
        server = ("::1", found.socket.getsockname()[1])
        client.sendto(b"question", server)
        packet, asker = found.receive(100)
        assert (packet, asker[1]) == (b"question", client.getsockname()[1])
        found.send(b"answer", asker)
        data, source = client.recvfrom(100)
        assert (data, source[:2]) == (b"answer", server)


@pytest.mark.parametrize(
    ("files", "family", "several"),
    [
        ({"fib_trie": TRIE}, socket.AF_INET, False),
        ({"fib_trie": TRIE + f"        |-- {SECOND}\n"},
         socket.AF_INET, True),
        ({"if_inet6": LOOPBACK_6}, socket.AF_INET6, False),
        ({"if_inet6": LOOPBACK_6 + "fd00::1 02 40 00 80 eth0\nfe80::1 02 40 20 80 eth0\n"}, socket.AF_INET6, True),
        ({}, socket.AF_INET, True),
        ({}, socket.AF_INET6, True),
    ],
)  # fmt: skip
def test_one_address_besides_loopbacks_needs_no_care(tmp_path, monkeypatch, files, family, several):
    monkeypatch.setattr(udp, "_PROC", tmp_path)
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert udp.several_addresses(family) is several


def test_a_socket_with_an_address_of_its_own_needs_none_either():
    found = udp.prepare(udp.bind("127.0.0.1", 0))
    with found.socket:
        assert found.receive == found.socket.recvfrom
