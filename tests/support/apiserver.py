"""A real API server in the test's own event loop, on a loopback port, with a PKI made once for the whole run."""

import functools
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from sampan.apiserver.main import APIServerOptions, start
from sampan.client.config import Config
from sampan.cluster import pki
from sampan.cluster.config import ClusterConfig


@functools.cache
def make_pki() -> Path:
    """A directory as the API server and its clients expect it; removed with the process."""
    directory = tempfile.TemporaryDirectory(prefix="sampan-pki-")
    _KEPT.append(directory)
    root = Path(directory.name) / "pki"
    root.mkdir()
    pki.create(root, ClusterConfig())
    return root


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


@asynccontextmanager
async def running_apiserver(
    store: str = "memory:", *, user: str = "admin", host: str = "127.0.0.1", **options: Any
) -> AsyncIterator[Config]:
    """Serve until the block ends; gives a client's configuration for `user` (a certificate of the PKI).

    Further options are those of the API server.
    """
    directory = make_pki()
    sock = socket.create_server((host, 0))
    address = f"{host}:{sock.getsockname()[1]}"
    async with AsyncExitStack() as stack:
        await start(APIServerOptions(sockets=[sock], store=store, pki=directory, **options), stack)
        yield Config(
            server=f"https://{address}",
            ca_file=str(directory / "ca.crt"),
            cert_file=str(directory / f"{user}.crt"),
            key_file=str(directory / f"{user}.key"),
        )


def anonymous(config: Config) -> Config:
    """The same server without credentials."""
    return replace(config, cert_file="", key_file="")


def write_kubeconfig(config: Config, path: Path) -> Path:
    """A kubeconfig for the upstream kubectl."""
    cluster = {"server": config.server, "certificate-authority": config.ca_file}
    user = {"client-certificate": config.cert_file, "client-key": config.key_file}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
    }
    path.write_text(yaml.safe_dump(document))
    return path
