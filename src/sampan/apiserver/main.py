"""The API server's life: open the store, make the built-in objects, listen, close in order.

`run` is what the box starts (`sampan.cluster`); everything it needs is in `APIServerOptions`. What a request meets is
in `app.py`.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from sampan.apiserver.app import App
from sampan.apiserver.authn.authenticator import Authenticator
from sampan.apiserver.authn.tokens import ServiceAccountTokens
from sampan.apiserver.authz import AllowAuthenticated
from sampan.apiserver.bootstrap import bootstrap
from sampan.apiserver.context import Context
from sampan.apiserver.metrics import Metrics
from sampan.apiserver.nonresource import NonResource
from sampan.apiserver.proxying.agents import Agents
from sampan.apiserver.strategy import RegistryConfig
from sampan.apiserver.subresources.reviews import Reviews
from sampan.apiserver.subresources.table import Subresources
from sampan.http.server import serve
from sampan.machinery.schema import Schemas
from sampan.store.open import open_store

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class APIServerOptions:
    """Where to listen, where to store, and the cluster's settings.

    `pki` is a directory with ca.crt, apiserver.crt, apiserver.key, sa.key, apiserver-kubelet-client.crt and .key.
    """

    sockets: Sequence[socket.socket]
    store: str
    pki: Path
    service_cidr: str = "10.96.0.0/12"
    node_port_range: tuple[int, int] = (30000, 32767)
    kubernetes_version: str = "1.36"
    advertise_address: str = "10.2.2.1"
    advertise_port: int = 6443
    service_account_issuer: str = "https://kubernetes.default.svc.cluster.local"
    cluster_domain: str = "cluster.local"


async def run(options: APIServerOptions, ready: Callable[[], None] = lambda: None) -> None:
    """Serve until cancelled; `ready` is called when requests are answered."""
    async with AsyncExitStack() as stack:
        await start(options, stack)
        ready()
        await asyncio.get_running_loop().create_future()


async def start(options: APIServerOptions, stack: AsyncExitStack) -> None:
    """Start serving; leaving the stack ends it again. Raises OSError, StoreError, SchemaError."""
    store = open_store(options.store)
    stack.push_async_callback(store.close)
    config = RegistryConfig(options.service_cidr, options.node_port_range, options.cluster_domain)
    context = Context(store, Schemas.load(options.kubernetes_version), config)
    stack.callback(context.close)
    await bootstrap(context, options.advertise_address, options.advertise_port)
    agents = Agents(context, options.pki)
    stack.push_async_callback(agents.close)
    app = _app(options, context, agents)
    tls = server_tls(options.pki)
    for sock in options.sockets:
        server = await serve(app, sock=sock, ssl=tls)
        stack.push_async_callback(server.close)
    log.info("serving on %s", ", ".join(str(sock.getsockname()) for sock in options.sockets))


def _app(options: APIServerOptions, context: Context, agents: Agents) -> App:
    tokens = ServiceAccountTokens(context.store, options.pki / "sa.key", options.service_account_issuer)
    authorizer = AllowAuthenticated()
    metrics = Metrics()
    nonresource = NonResource(context, metrics, tokens, options.kubernetes_version)
    subresources = Subresources(tokens, Reviews(tokens, authorizer), agents)
    return App(context, Authenticator(tokens), authorizer, nonresource, subresources, metrics)


def server_tls(pki: Path) -> ssl.SSLContext:
    """TLS 1.2 and up, with client certificates that the cluster's CA has signed, if the client has one."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.minimum_version = ssl.TLSVersion.TLSv1_2
    tls.load_cert_chain(pki / "apiserver.crt", pki / "apiserver.key")
    tls.load_verify_locations(pki / "ca.crt")
    tls.verify_mode = ssl.CERT_OPTIONAL
    tls.set_alpn_protocols(["http/1.1"])
    return tls
