"""A small cluster as DNS sees it, a server configured by a Corefile in front of it, and ways to ask."""

import asyncio
import contextlib
import shutil
from functools import partial
from types import SimpleNamespace

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import msgspec
import pytest

from sampan.dns import config
from sampan.dns.cluster import Cluster
from sampan.dns.generation import Generation
from sampan.dns.metrics import Metrics
from sampan.dns.objects import EndpointSlice, Namespace, Pod, Service
from sampan.dns.plugins import forward
from sampan.dns.server import DNSServer
from sampan.dns.wire import Reply
from support.dnsclients import CLIENTS
from support.dnsobjects import OBJECTS
from support.dnsworld import running_dns
from support.resolvers import address

HOST = "127.0.0.1"
SECONDS = 5


def service(name, namespace="default", **spec):
    metadata = {"name": name, "namespace": namespace}
    return msgspec.convert({"metadata": metadata, "spec": spec}, Service)


def endpoint_slice(owner, endpoints, ports=(), namespace="default", name=None):
    metadata = {"name": name or f"{owner}-x", "namespace": namespace, "labels": {"kubernetes.io/service-name": owner}}
    return msgspec.convert({"metadata": metadata, "endpoints": endpoints, "ports": list(ports)}, EndpointSlice)


HTTP = {"name": "http", "protocol": "TCP", "port": 80}
DNS = {"name": "dns", "protocol": "UDP", "port": 53}

SERVICES = [
    service("web", clusterIP="10.96.0.5", clusterIPs=["10.96.0.5"], ports=[HTTP, {"protocol": "TCP", "port": 81}]),
    service("dual", clusterIP="10.96.0.6", clusterIPs=["10.96.0.6", "fd00::6"], ports=[HTTP]),
    service("pending", ports=[HTTP]),
    service("peers", clusterIP="None", clusterIPs=["None"], ports=[HTTP]),
    service("lonely", clusterIP="None", clusterIPs=["None"], ports=[HTTP]),
    service("out", type="ExternalName", externalName="Example.com."),
    service("alias", type="ExternalName", externalName="web.default.svc.cluster.local"),
    service("astray", type="ExternalName", externalName="nobody.default.svc.cluster.local"),
    service("loop", type="ExternalName", externalName="loop.default.svc.cluster.local"),
    service("number", type="ExternalName", externalName="192.0.2.1"),
    service("kube-dns", "kube-system", clusterIP="10.96.0.10", clusterIPs=["10.96.0.10"], ports=[DNS]),
]
SLICES = [
    endpoint_slice("web", [{"addresses": ["10.244.0.9"], "conditions": {"ready": True}}], [HTTP]),
    endpoint_slice(
        "peers",
        [
            {"addresses": ["10.244.0.2"], "conditions": {"ready": True}, "hostname": "peer-0"},
            {"addresses": ["10.244.1.3"]},
            {"addresses": ["10.244.1.4"], "conditions": {"ready": False}, "hostname": "peer-2"},
        ],
        [HTTP],
    ),
    endpoint_slice("peers", [{"addresses": ["fd00::1:2"]}], [HTTP], name="peers-v6"),
    endpoint_slice("lonely", [{"addresses": ["10.244.1.9"], "conditions": {"ready": False}}], [HTTP]),
]


COREFILE = """\
.:53 {
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 5
    }
    forward . 192.0.2.53
    loadbalance
}
"""


def namespace(name):
    return msgspec.convert({"metadata": {"name": name}}, Namespace)


def pod(name, address, space="default", **spec):
    return msgspec.convert(
        {"metadata": {"name": name, "namespace": space}, "spec": spec, "status": {"podIPs": [{"ip": address}]}}, Pod
    )


@pytest.fixture
def cluster():
    found = Cluster()
    for name in ("default", "kube-system", "empty"):
        found.set_namespace(None, namespace(name))
    for one in SERVICES:
        found.set_service(None, one)
    for one in SLICES:
        found.set_slice(None, one)
    found.set_pod(None, pod("web-1", "10.244.0.9"))
    return found


class Asker:
    """Asks a responder, as a client would over UDP or TCP. What leaves the cluster is noted, and is empty."""

    def __init__(self, cluster, corefile=COREFILE, outside=None):
        self.metrics = Metrics()
        self.outside = []
        self.elsewhere = outside or (lambda query: Reply(authoritative=False))
        self.generation = Generation(
            config.read(corefile), cluster, self.metrics, domain="cluster.local", hosts=("0.0.0.0",)
        )
        (self.responder,) = self.generation.responders.values()

    def answer(self, packet, tcp=False, client=("10.244.0.9", 4711)):
        responder = self.responder
        answer = responder.answer_tcp(packet, client) if tcp else responder.answer_udp(packet, client)
        if answer is None or isinstance(answer, bytes):
            return answer

        async def wait():
            return await asyncio.get_running_loop().create_task(answer)

        return asyncio.run(wait())

    def __call__(self, name, kind="A", tcp=False, client=("10.244.0.9", 4711), **options):
        query = dns.message.make_query(name, kind, **options)
        response = dns.message.from_wire(self.answer(query.to_wire(), tcp, client))
        assert query.is_response(response)
        return response


@pytest.fixture(scope="session")
def served():
    """The running program before an API server with a Service of each kind. It is shared: create nothing in it."""
    with running_dns(behave=address) as found:
        found.create(*OBJECTS)
        found.settle()
        yield found


@pytest.fixture(params=CLIENTS)
def wire(served, request):
    """Asks `served` for a name and a type: with dnspython and with dig, over UDP and over TCP."""
    if request.param.startswith("dig") and not shutil.which("dig"):
        pytest.skip("dig is not installed")
    return partial(CLIENTS[request.param], served.port)


@pytest.fixture
def asker(cluster, monkeypatch):
    """Makes an Asker for a Corefile; `outside(query)` answers what is forwarded."""

    def make(corefile=COREFILE, outside=None):
        made = Asker(cluster, corefile, outside)

        async def ask(self, request):
            made.outside.append((request.query.name, request.query.type))
            return made.elsewhere(request.query)

        monkeypatch.setattr(forward.Forward, "_ask", ask)
        return made

    return make


@pytest.fixture
def ask(asker):
    return asker()


@pytest.fixture
def make():
    """Functions that make objects."""
    return SimpleNamespace(service=service, endpoint_slice=endpoint_slice, namespace=namespace, pod=pod)


@pytest.fixture
def texts():
    return record_texts


def record_texts(section):
    """The records of a section, as `name type data`."""
    return [
        f"{rrset.name.to_text(True)} {dns.rdatatype.to_text(rrset.rdtype)} {rdata.to_text()}"
        for rrset in section
        for rdata in rrset
    ]


class World:
    """A server on real sockets, before the small cluster and scripted resolvers."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.metrics = Metrics()
        self.stack = contextlib.AsyncExitStack()

    async def start(self, *resolvers, options="", before="", attempt=0.3, total=2.0):
        """`options` are those of `forward`, `before` the lines of other plugins."""
        for resolver in resolvers:
            await resolver.start(self.stack)
        servers = " ".join(resolver.to for resolver in resolvers) or "192.0.2.53"
        text = f"""
        . {{
            kubernetes cluster.local in-addr.arpa ip6.arpa {{
                fallthrough in-addr.arpa ip6.arpa
            }}
            {before}
            forward . {servers} {{
                policy sequential
                {options}
            }}
        }}
        """
        self.generation = Generation(
            config.read(text), self.cluster, self.metrics, domain="cluster.local", hosts=(HOST,)
        )
        for plugin in self.generation.plugins:
            if isinstance(plugin, forward.Forward):
                plugin._times = forward.Times(attempt, total)
        await self.generation.start()
        self.stack.push_async_callback(self.generation.stop)
        self.server = DNSServer(next(iter(self.generation.responders.values())))
        self.stack.push_async_callback(self.server.close)
        self.port = await self.server.start(HOST, 0)

    async def ask(self, name, kind="A", tcp=False, **options):
        query = dns.message.make_query(name, kind, **options)
        ask = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
        return await ask(query, HOST, port=self.port, timeout=SECONDS)


@pytest.fixture
def world(cluster):
    return World(cluster)


@pytest.fixture
def run(world):
    """Runs a scenario in the world, and takes it down."""

    def run(scenario):
        async def whole():
            async with world.stack, asyncio.timeout(4 * SECONDS):
                await scenario()

        asyncio.run(whole())

    return run
