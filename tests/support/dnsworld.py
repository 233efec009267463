"""Cluster DNS as it is run: `sampan dns` in front of a real API server, and a scripted resolver behind it.

All of it runs in a thread of its own, so that tests may ask with anything that blocks.
"""

import asyncio
import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

from sampan.client.resources import Resource
from sampan.client.rest import Client
from sampan.dns.main import DNSOptions, run
from support.apiserver import running_apiserver
from support.dnsclients import over_udp
from support.dnsobjects import at, endpoints, headless
from support.resolvers import Behaviour, Resolver, nothing

HOST = "127.0.0.1"
SECONDS = 20.0
CIDRS = "10.96.0.0/12,fd00:96::/112"
"""Where virtual addresses come from: both families."""
COREFILE = """\
.:{port} {{
    kubernetes cluster.local corp.example in-addr.arpa ip6.arpa {{
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 7
    }}
    cache 30
    loadbalance
    forward . {upstream}
}}
"""
"""As kubeadm's, with a second domain."""

T = TypeVar("T")
_NUMBERS = itertools.count(1)


class DNSWorld:
    """A running server at `port`. `do` runs a coroutine beside it, `create` makes objects."""

    def __init__(self, corefile: str, behave: Behaviour) -> None:
        self.port = free_port()
        self.upstream = Resolver(behave)
        self._corefile = corefile
        self._loop = asyncio.new_event_loop()
        self._ended: asyncio.Event
        self._up: Future[None] = Future()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._main(),), daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._up.result(SECONDS)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(SECONDS)
        self._loop.close()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(SECONDS)

    def create(self, *objects: tuple[Resource, dict[str, Any]]) -> None:
        async def all_of_them() -> None:
            for resource, obj in objects:
                namespace = obj["metadata"].get("namespace", "default") if resource.namespaced else None
                await self.client.create(resource, obj, namespace)

        self.do(all_of_them())

    def settle(self) -> None:
        """Wait until the server has heard of all that was created: of a Service and a slice that come after it."""
        name = f"settled-{next(_NUMBERS)}"
        self.create(headless(name), endpoints(name, "a", at("192.0.2.200"), ports=()))
        eventually(lambda: bool(over_udp(self.port, f"{name}.default.svc.cluster.local", "A").answer))

    async def _main(self) -> None:
        self._ended = asyncio.Event()
        try:
            async with contextlib.AsyncExitStack() as stack:
                await self._serve(stack)
                self._up.set_result(None)
                await self._ended.wait()
        except BaseException as error:
            if not self._up.done():
                self._up.set_exception(error)
            raise

    async def _serve(self, stack: contextlib.AsyncExitStack) -> None:
        config = await stack.enter_async_context(running_apiserver(service_cidr=CIDRS))
        self.client = Client(config)
        stack.push_async_callback(self.client.close)
        await self.upstream.start(stack)
        text = self._corefile.format(port=self.port, upstream=self.upstream.to)
        ready = asyncio.Event()
        task = asyncio.create_task(run(DNSOptions(connect=lambda: config, text=text, listen=(HOST,)), ready.set))
        stack.push_async_callback(_end, task)
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            waiting.cancel()
            task.result()


@contextlib.contextmanager
def running_dns(corefile: str = COREFILE, behave: Behaviour = nothing) -> Iterator[DNSWorld]:
    """A world until the block ends; `behave` is what the resolver of other names does."""
    world = DNSWorld(corefile, behave)
    world.start()
    try:
        yield world
    finally:
        world.stop()


def eventually(holds: Callable[[], bool], seconds: float = SECONDS) -> None:
    """Ask again and again until something holds, or a deadline."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.002)


def free_port() -> int:
    """A port that was free a moment ago, for UDP and TCP."""
    while True:
        with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            tcp.bind((HOST, 0))
            with contextlib.suppress(OSError):
                udp.bind((HOST, tcp.getsockname()[1]))
                return int(tcp.getsockname()[1])


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
