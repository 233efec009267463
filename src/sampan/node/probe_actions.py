"""One attempt of a probe: an HTTP request, a TCP connection, a command, a gRPC health check.

The agent runs in the node's network namespace, so pods' addresses are reached directly. Messages are upstream's,
because people search for them. `probes.py` decides what the outcomes mean.
"""

import asyncio
import errno
import functools
import ssl as tls
from dataclasses import dataclass

from sampan.api.core_v1 import Container, ExecAction, GRPCAction, HTTPGetAction, IntOrString, TCPSocketAction
from sampan.http.client import HTTPClient
from sampan.node import grpc_health
from sampan.node.runtime.runtime import Runtime
from sampan.node.runtime.types import ContainerError, ExecTimeout

MAX_OUTPUT = 10 * 1024
_USER_AGENT = "kube-probe/1.36"
_REASONS = {
    errno.ECONNREFUSED: "connection refused",
    errno.EHOSTUNREACH: "no route to host",
    errno.ENETUNREACH: "network is unreachable",
    errno.ECONNRESET: "connection reset by peer",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether an attempt succeeded, and what it said."""

    success: bool
    output: str = ""


async def http_get(action: HTTPGetAction, container: Container, pod_ip: str, timeout: float | None) -> Outcome:
    """Any status from 200 to 399 is a success. Certificates are not verified."""
    scheme, path = action.scheme.lower() or "http", action.path or "/"
    host, port = action.host or pod_ip, port_number(action.port, container)
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    url = f"{scheme}://{address}{path if path.startswith('/') else '/' + path}"
    headers = {"User-Agent": _USER_AGENT, "Accept": "*/*", "Connection": "close"}
    headers |= {header.name: header.value for header in action.http_headers}
    client = HTTPClient(f"{scheme}://{address}", ssl=_unverified() if scheme == "https" else None)
    try:
        answer = await client.request(
            "GET", url.removeprefix(f"{scheme}://{address}"), headers=headers, timeout=timeout
        )
    except TimeoutError:
        return Outcome(
            False, f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
        )
    except (OSError, ValueError) as error:
        return Outcome(False, f'Get "{url}": {_dial_error(error, address)}')
    finally:
        await client.close()
    if 200 <= answer.status < 400:
        return Outcome(True, answer.body[:MAX_OUTPUT].decode(errors="replace"))
    return Outcome(False, f"HTTP probe failed with statuscode: {answer.status}")


async def tcp_socket(action: TCPSocketAction, container: Container, pod_ip: str, timeout: float | None) -> Outcome:
    """A connection that opens is a success."""
    host, port = action.host or pod_ip, port_number(action.port, container)
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return Outcome(False, f"dial tcp {address}: i/o timeout")
    except OSError as error:
        return Outcome(False, _dial_error(error, address))
    writer.close()
    return Outcome(True)


async def exec_command(action: ExecAction, runtime: Runtime, container_id: str, timeout: float) -> Outcome:
    """Exit code 0 is a success."""
    try:
        result = await runtime.exec(container_id, action.command, timeout=timeout, limit=MAX_OUTPUT)
    except ExecTimeout:
        words = " ".join(action.command)
        return Outcome(False, f'command timed out: "{words}" timed out after {timeout:g}s')
    except ContainerError as error:
        return Outcome(False, str(error))
    output = (result.stdout + result.stderr)[:MAX_OUTPUT].decode(errors="replace")
    return Outcome(result.exit_code == 0, output)


async def grpc(action: GRPCAction, pod_ip: str, timeout: float) -> Outcome:
    """The health service must answer SERVING."""
    address = f"{pod_ip}:{action.port}"
    try:
        async with asyncio.timeout(timeout):
            status = await grpc_health.check(pod_ip, action.port, action.service)
    except TimeoutError:
        return Outcome(False, f'timeout: failed to connect service "{address}" within {timeout:g}s')
    except (OSError, grpc_health.BadAnswer) as error:
        return Outcome(False, f"error: health rpc probe failed: {error}")
    if status == grpc_health.SERVING:
        return Outcome(True, "service healthy")
    return Outcome(False, f"service unhealthy (responded with {grpc_health.NAMES.get(status, str(status))!r})")


def port_number(port: IntOrString, container: Container) -> int:
    """A probe's port, by number or by the name of one of the container's ports; 0 if there is none of that name."""
    if isinstance(port, int) or port.isdigit():
        return int(port)
    return next((one.container_port for one in container.ports if one.name == port), 0)


def _dial_error(error: Exception, address: str) -> str:
    if isinstance(error, ConnectionResetError) and error.errno is None:
        return "EOF"
    reason = _REASONS.get(error.errno or 0) if isinstance(error, OSError) else None
    return f"dial tcp {address}: connect: {reason}" if reason else str(error)


@functools.cache
def _unverified() -> tls.SSLContext:
    context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = tls.CERT_NONE
    return context
