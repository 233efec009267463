"""However the cluster came to be as it is, its names mean the same: nothing of what was before shows in an answer."""

from ipaddress import ip_address

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.dns import wire
from sampan.dns.cluster import Cluster
from sampan.dns.objects import EndpointSlice, Service
from sampan.dns.records import Zone

NAMES = ("one", "two", "three")
HOSTS = ("", "alpha", "beta")
VIRTUAL = ("10.96.0.1", "10.96.0.2", "fd00:96::1")
ADDRESSES = ("10.244.0.1", "10.244.0.2", "10.96.0.2", "fd00:244::1")
PORTS = ({"name": "http", "port": 80}, {"port": 81}, {"name": "dns", "protocol": "UDP", "port": 53})
KINDS = (wire.A, wire.AAAA, wire.SRV, wire.CNAME)


def subsets(of):
    return st.lists(st.sampled_from(of), unique_by=str, max_size=len(of))


SPECS = st.one_of(
    st.fixed_dictionaries({"clusterIPs": subsets(VIRTUAL).filter(bool), "ports": subsets(PORTS)}),
    st.just({"clusterIP": "None", "clusterIPs": ["None"], "ports": [PORTS[0]]}),
    st.sampled_from([f"{name}.default.svc.cluster.local" for name in NAMES]).map(
        lambda target: {"type": "ExternalName", "externalName": target}
    ),
)
ENDPOINTS = st.fixed_dictionaries(
    {
        "addresses": subsets(ADDRESSES).filter(bool),
        "hostname": st.sampled_from(HOSTS),
        "conditions": st.fixed_dictionaries({"ready": st.sampled_from([None, True, False])}),
    }
)
SLICES = st.fixed_dictionaries(
    {"owner": st.sampled_from(NAMES), "endpoints": st.lists(ENDPOINTS, max_size=3), "ports": subsets(PORTS)}
)
CHANGES = st.one_of(
    st.tuples(st.just("service"), st.sampled_from(NAMES), st.none() | SPECS),
    st.tuples(st.just("slice"), st.sampled_from(("a", "b", "c")), st.none() | SLICES),
)
REVERSE = [(ip_address(text).reverse_pointer, wire.PTR) for text in {*VIRTUAL, *ADDRESSES}]
QUESTIONS = [
    *((f"{name}.default.svc.cluster.local", kind) for name in NAMES for kind in KINDS),
    *((f"{host}.{name}.default.svc.cluster.local", kind) for name in NAMES for host in HOSTS[1:] for kind in KINDS),
    *((f"_http._tcp.{name}.default.svc.cluster.local", wire.SRV) for name in NAMES),
    *REVERSE,
]


def service(name, spec):
    return msgspec.convert({"metadata": {"name": name, "namespace": "default"}, "spec": spec}, Service)


def endpoint_slice(name, spec):
    labels = {"kubernetes.io/service-name": spec["owner"]}
    metadata = {"name": name, "namespace": "default", "labels": labels}
    content = {"metadata": metadata, "endpoints": spec["endpoints"], "ports": spec["ports"]}
    return msgspec.convert(content, EndpointSlice)


class World:
    """A cluster that is told of changes one by one, and what there is after them."""

    def __init__(self):
        self.cluster = Cluster()
        self.objects = {}

    def change(self, kind, name, spec):
        make, tell = self._ways(self.cluster)[kind]
        old, new = self.objects.pop((kind, name), None), None if spec is None else make(name, spec)
        if new is not None:
            self.objects[kind, name] = new
        if old is not None or new is not None:
            tell(old, new)

    def afresh(self):
        """A cluster that has heard of nothing but what there is now."""
        cluster = Cluster()
        for (kind, _), found in self.objects.items():
            self._ways(cluster)[kind][1](None, found)
        return cluster

    def _ways(self, cluster):
        return {"service": (service, cluster.set_service), "slice": (endpoint_slice, cluster.set_slice)}


def meaning(cluster):
    """All answers, as far as order and the serial do not matter."""
    cluster.serial = 1
    zone = Zone(cluster)
    return {question: told(zone.answer(*question)) for question in QUESTIONS}


def told(reply):
    if reply is None:
        return None
    return reply.rcode, *(sorted(map(repr, part)) for part in (reply.answers, reply.authority, reply.additional))


@settings(deadline=None, max_examples=60)
@given(st.lists(CHANGES, max_size=8))
def test_an_answer_depends_on_what_there_is_and_not_on_what_was(changes):
    world = World()
    for change in changes:
        world.change(*change)
        zone = Zone(world.cluster)
        for question in REVERSE:  # the first of these makes an index, that is kept up to date from then on
            zone.answer(*question)
    assert meaning(world.cluster) == meaning(world.afresh())


@settings(deadline=None, max_examples=60)
@given(st.lists(CHANGES, max_size=8))
def test_the_families_of_a_name_are_denied_together_and_what_srv_and_ptr_name_exists(changes):
    world = World()
    for change in changes:
        world.change(*change)
    zone = Zone(world.cluster)
    for name, _ in QUESTIONS:
        if not name.endswith("arpa"):
            assert zone.answer(name, wire.A).rcode == zone.answer(name, wire.AAAA).rcode
    for target in {target for question in QUESTIONS for target in targets(zone.answer(*question))}:
        assert zone.answer(target, wire.A).rcode == wire.NOERROR
        assert zone.answer(target, wire.A).answers or zone.answer(target, wire.AAAA).answers


def targets(reply):
    """The names that SRV and PTR records lead to."""
    records = reply.answers if reply is not None else ()
    return [target_of(record) for record in records if record.type in (wire.SRV, wire.PTR)]


def target_of(record):
    data, labels = record.data[6 if record.type == wire.SRV else 0 :], []
    while data[0]:
        labels.append(data[1 : 1 + data[0]].decode())
        data = data[1 + data[0] :]
    return ".".join(labels)
