"""Runs inside a node's network: answers Questions (JSON on standard input) with NodeFacts (JSON on standard output).

What cannot be found out is left out, with a line on standard error; the explanation then says less.
"""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import closing

import msgspec

from sampan.http.client import HTTPClient
from sampan.kernel.conntrack import Conntrack
from sampan.proxy.explain.facts import Destination, DNSAnswer, Listening, NodeFacts, Questions, Rule, TrackedFlow, place
from sampan.proxy.explain.readers import READERS
from sampan.proxy.explain.sockets import listening
from sampan.proxy.options import METRICS_PORT
from sampan.proxy.state import is_family

DNS_SECONDS = 2.0
MAX_FLOWS = 10_000


async def collect(questions: Questions) -> NodeFacts:
    mode = await proxy_mode()
    reader = READERS.get(mode)
    rules: list[Rule] = []
    for destination in questions.destinations if reader else ():
        try:
            rules.append(await reader(destination, questions.from_outside))  # type: ignore[misc]
        except OSError as error:
            tell(f"reading the rule of {destination}: {error}")
    return NodeFacts(
        node=questions.node,
        mode=mode,
        rules=tuple(rules),
        flows=tracked(questions.destinations),
        sockets=sockets(questions),
        dns=await ask_dns(questions) if questions.dns_server else None,
    )


async def proxy_mode() -> str:
    """What the node's proxy says; empty if it does not answer."""
    client = HTTPClient(f"http://127.0.0.1:{METRICS_PORT}")
    try:
        answer = await client.request("GET", "/proxyMode", timeout=2.0)
        return answer.body.decode() if answer.status == 200 else ""
    except (OSError, TimeoutError) as error:
        tell(f"asking the proxy for its mode: {error}")
        return ""
    finally:
        await client.close()


def tracked(destinations: Sequence[Destination]) -> tuple[TrackedFlow, ...]:
    """The connections to these that the kernel remembers."""
    wanted = {(each.protocol, each.ip, each.port): each for each in destinations}
    kinds = {(6 if ":" in each.ip else 4, each.protocol) for each in destinations}
    found: list[TrackedFlow] = []
    try:
        with closing(Conntrack()) as tracking:
            for family, protocol in sorted(kinds):
                addresses = [(each.ip, each.port) for each in destinations if each.protocol == protocol]
                mine = [each for each in addresses if is_family(each[0], family)]
                for flow in {each.identity: each for each in tracking.flows_to(family, protocol, mine)}.values():
                    destination = wanted.get((protocol, flow.destination, flow.destination_port))
                    if destination and len(found) < MAX_FLOWS:
                        backend = place(flow.backend, flow.backend_port)
                        found.append(TrackedFlow(client=flow.client, destination=destination, backend=backend))
    except (OSError, ValueError) as error:
        tell(f"listing tracked connections: {error}")
    return tuple(found)


def sockets(questions: Questions) -> dict[str, tuple[Listening, ...]]:
    found = {}
    for pod in questions.pods:
        try:
            found[pod.key] = listening(pod.network)
        except OSError as error:
            tell(f"looking into pod {pod.key}: {error}")
    return found


async def ask_dns(questions: Questions) -> DNSAnswer:
    """The addresses of a name, of both families, asked as a pod would ask."""
    import dns.asyncquery
    import dns.exception
    import dns.message
    import dns.rcode
    import dns.rdatatype

    name, server = questions.dns_name, questions.dns_server
    found: list[str] = []
    for kind in (dns.rdatatype.A, dns.rdatatype.AAAA):
        try:
            answer = await dns.asyncquery.udp(dns.message.make_query(f"{name}.", kind), server, timeout=DNS_SECONDS)
        except dns.exception.Timeout:
            return DNSAnswer(name=name, failure=f"{server} does not answer")
        except (OSError, dns.exception.DNSException) as error:
            return DNSAnswer(name=name, failure=f"{server}: {error}")
        if answer.rcode() != dns.rcode.NOERROR:
            return DNSAnswer(name=name, failure=f"{server} says {dns.rcode.to_text(answer.rcode())}")
        found += [str(item) for group in answer.answer if group.rdtype == kind for item in group]
    return DNSAnswer(name=name, addresses=tuple(sorted(found)))


def tell(text: str) -> None:
    print(text, file=sys.stderr)


def main() -> None:
    questions = msgspec.json.decode(sys.stdin.buffer.read(), type=Questions)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(collect(questions))))


if __name__ == "__main__":
    main()
