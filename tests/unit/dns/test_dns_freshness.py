"""Answers are never stale: whatever was asked before, and however, the next answer is made of what the cluster has now.

A write is seen when its watch event arrives. So each scenario waits until one way of asking shows the write, and then
no other may show anything older. Behind the server is a resolver whose answers may be kept for a minute, denials
included, and the Corefile has a cache for them.
"""

import contextlib
import statistics
import time
from ipaddress import ip_address

import dns.rcode
import pytest

from sampan.client.resources import ENDPOINT_SLICES, SERVICES
from support.dnsclients import over_tcp, over_udp
from support.dnsobjects import UNREADY, alias, at, endpoints, headless, service
from support.dnsworld import eventually, running_dns
from support.resolvers import address, response

SVC = "default.svc.cluster.local"
WAYS = (over_udp, over_tcp)
SOA = (".", 60, "IN", "SOA", "ns. admin. 1 2 3 4 60")
GONE, THERE = {"NXDOMAIN"}, {"NOERROR"}


def outside(query):
    """Of the names of others two exist; nobody else's address has a name."""
    name = query.question[0].name.to_text()
    if name in ("one.example.", "two.example."):
        return address(query, data="192.0.2.1" if name == "one.example." else "192.0.2.2")
    return [response(query, SOA, rcode=dns.rcode.NXDOMAIN)]


@pytest.fixture(scope="module")
def world():
    with running_dns(behave=outside) as found:
        yield found


def reverse(text):
    return ip_address(text).reverse_pointer


class Questions:
    """Several questions, that are asked in every way, and twice: the second answer may be one that was kept."""

    def __init__(self, world, *questions):
        self._world, self._questions = world, questions

    def answers(self):
        found = {}
        for _ in range(2):
            for name, kind in self._questions:
                for way in WAYS:
                    answer = way(self._world.port, name, kind)
                    found.setdefault((name, kind, way.__name__), set()).add(answer.status)
        return found

    def are(self, statuses):
        return all(found == statuses for found in self.answers().values())

    def become(self, statuses):
        """Wait for the first question to be answered so, and then look at all."""
        name, kind = self._questions[0]
        eventually(lambda: {over_udp(self._world.port, name, kind).status} == statuses)
        assert {asked: found for asked, found in self.answers().items() if found != statuses} == {}


@contextlib.contextmanager
def existing(world, made):
    """An object, until the block ends."""
    resource, obj = made
    world.create(made)
    try:
        yield
    finally:
        world.do(world.client.delete(resource, obj["metadata"]["name"], "default"))


def test_a_service_comes_and_goes_under_all_of_its_names(world):
    name = f"fresh.{SVC}"
    questions = Questions(
        world, (name, "A"), (name, "AAAA"), (name, "SRV"), (f"_http._tcp.{name}", "SRV"),
        (reverse("10.96.0.77"), "PTR"), (reverse("fd00:96::77"), "PTR"),
    )  # fmt: skip
    addresses = {"clusterIP": "10.96.0.77", "clusterIPs": ["10.96.0.77", "fd00:96::77"]}
    for _ in range(3):
        assert questions.are(GONE)
        with existing(world, service("fresh", "http:TCP:80", ipFamilyPolicy="RequireDualStack", **addresses)):
            questions.become(THERE)
        questions.become(GONE)


def test_an_endpoint_comes_and_goes_under_all_of_its_names(world):
    name = f"crew.{SVC}"
    questions = Questions(
        world, (name, "A"), (name, "SRV"), (f"_http._tcp.{name}", "SRV"), (f"mate.{name}", "A"),
        (reverse("10.244.9.9"), "PTR"), (f"mate.{name}", "SRV"),
    )  # fmt: skip
    with existing(world, headless("crew", "http:TCP:80")):
        for _ in range(3):
            assert questions.are(GONE)
            with existing(world, endpoints("crew", "a", at("10.244.9.9", "mate"))):
                questions.become(THERE)
            questions.become(GONE)


def test_so_it_does_when_it_is_only_no_longer_ready(world):
    name = f"shift.{SVC}"
    questions = Questions(
        world, (name, "A"), (f"_http._tcp.{name}", "SRV"), (f"mate.{name}", "A"), (reverse("10.244.9.8"), "PTR")
    )
    mate = endpoints("shift", "a", at("10.244.9.8", "mate"))
    with existing(world, headless("shift", "http:TCP:80")), existing(world, mate):
        for _ in range(3):
            questions.become(THERE)
            patch(world, "shift-a", at("10.244.9.8", "mate", **UNREADY))
            questions.become(GONE)
            patch(world, "shift-a", at("10.244.9.8", "mate", ready=True))


def patch(world, name, *found):
    world.do(world.client.patch(ENDPOINT_SLICES, name, {"endpoints": list(found)}, "default"))


def test_a_new_address_takes_the_place_of_the_old_one(world):
    """Under its own name, and both addresses under theirs."""
    name = f"moving.{SVC}"
    mate = endpoints("moving", "a", at("10.244.8.0", "mate"))
    with existing(world, headless("moving", "http:TCP:80")), existing(world, mate):
        times = []
        for number in range(1, 20):
            old, new = f"10.244.8.{number - 1}", f"10.244.8.{number}"
            eventually(lambda old=old: over_udp(world.port, name, "A").data("A") == [old])
            patch(world, "moving-a", at(new, "mate"))
            begun = time.perf_counter()
            eventually(lambda new=new: over_udp(world.port, name, "A").data("A") == [new])
            times.append(time.perf_counter() - begun)
            for way in WAYS:
                assert way(world.port, name, "A").data("A") == [new]
                assert way(world.port, f"mate.{name}", "A").data("A") == [new]
                assert [one.data for one in way(world.port, f"_http._tcp.{name}", "SRV").additional] == [new]
                assert way(world.port, reverse(new), "PTR").data("PTR") == [f"mate.{name}."]
                assert way(world.port, reverse(old), "PTR").status == "NXDOMAIN"
        print(f"from write to changed answer: median {statistics.median(times) * 1000:.1f} ms")


def test_an_alias_leads_at_once_to_where_it_leads_now(world):
    """To another name outside, and to an address of its own when the Service is no alias any more."""
    name = f"turning.{SVC}"

    def answers(way, kind="A"):
        return [record.data for record in way(world.port, name, kind).answer]

    def become(first, all_of_them):
        eventually(lambda: over_udp(world.port, name, "CNAME").data("CNAME") == first)
        for _ in range(2):
            for way in WAYS:
                assert sorted(answers(way)) == sorted(all_of_them)

    def change(**spec):
        world.do(world.client.patch(SERVICES, "turning", {"spec": spec}, "default"))

    with existing(world, alias("turning", "one.example")):
        become(["one.example."], ["one.example.", "192.0.2.1"])
        change(externalName="two.example")
        become(["two.example."], ["two.example.", "192.0.2.2"])
        change(externalName="none.example")
        become(["none.example."], ["none.example."])
        change(type="ClusterIP", externalName=None, clusterIP="10.96.0.78", ports=[{"port": 80}])
        become([], ["10.96.0.78"])
        assert {way(world.port, reverse("10.96.0.78"), "PTR").status for way in WAYS} == THERE
        change(type="ExternalName", externalName="one.example", clusterIP=None, clusterIPs=None, ports=None)
        become(["one.example."], ["one.example.", "192.0.2.1"])
        assert {way(world.port, reverse("10.96.0.78"), "PTR").status for way in WAYS} == GONE


def test_an_alias_in_the_cluster_follows_what_it_leads_to(world):
    name = f"follower.{SVC}"

    def found(way):
        return way(world.port, name, "A")

    with existing(world, alias("follower", f"leader.{SVC}")):
        eventually(lambda: over_udp(world.port, name, "CNAME").status == "NOERROR")
        for _ in range(3):
            assert [found(way).status for way in WAYS] == ["NXDOMAIN", "NXDOMAIN"]
            with existing(world, service("leader", "http:TCP:80", clusterIP="10.96.0.79")):
                eventually(lambda: over_udp(world.port, f"leader.{SVC}", "A").status == "NOERROR")
                assert [found(way).data("A") for way in WAYS] == [["10.96.0.79"], ["10.96.0.79"]]
            eventually(lambda: over_udp(world.port, f"leader.{SVC}", "A").status == "NXDOMAIN")
