"""GET of componentstatuses: nothing is stored; the components are asked at the ports where they report their health.

As with upstream, these are ports of the server's own machine. Of the store the server itself is the judge; the answer
is called `etcd-0`, which scripts look for.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import msgspec

from sampan.apiserver.handlers.call import Call
from sampan.apiserver.rendering import in_media_type
from sampan.http.client import HTTPClient
from sampan.http.messages import Response
from sampan.machinery.objects import Object
from sampan.store.interface import Store, StoreError

PROBE_SECONDS = 5.0
_PORTS = {"scheduler": 10259, "controller-manager": 10257}

Health = tuple[bool, str, str]
"""Whether it is healthy, what it says, and what went wrong asking."""


async def get(call: Call) -> Response:
    """Raises NotFound."""
    probe = _probes(call.context.store).get(call.info.name)
    if probe is None:
        raise call.home.not_found(call.info.name)
    return call.object(_status(call.info.name, await probe()))


async def list_(call: Call) -> Response:
    probes = _probes(call.context.store)
    answers = await asyncio.gather(*(probe() for probe in probes.values()))
    values = [_status(name, health) for name, health in zip(probes, answers, strict=True)]
    form = call.form()
    return Response(200, in_media_type(call.renderer(form).list(values, {}), form), form.media_type, call.warnings())


HANDLERS = {"get": get, "list": list_}


def _probes(store: Store) -> Mapping[str, Callable[[], Awaitable[Health]]]:
    asked = {name: partial(_ask, port) for name, port in _PORTS.items()}
    return {**asked, "etcd-0": partial(_ask_store, store)}


async def _ask(port: int) -> Health:
    client = HTTPClient(f"http://127.0.0.1:{port}")
    try:
        answer = await client.request("GET", "/healthz", timeout=PROBE_SECONDS)
    except OSError as error:
        reason = "connect: connection refused" if isinstance(error, ConnectionRefusedError) else str(error)
        return False, f'Get "http://127.0.0.1:{port}/healthz": dial tcp 127.0.0.1:{port}: {reason}', ""
    finally:
        await client.close()
    said = answer.body.decode(errors="replace")
    return answer.status == 200, said, "" if answer.status == 200 else f"unhealthy http status code: {answer.status}"


async def _ask_store(store: Store) -> Health:
    try:
        await store.list("/registry/health", limit=1)
    except StoreError as error:
        return False, str(error), ""
    return True, "ok", ""


def _status(name: str, health: Health) -> bytes:
    healthy, message, error = health
    condition = {"type": "Healthy", "status": "True" if healthy else "False", "message": message}
    if error:
        condition["error"] = error
    status: Object = {
        "kind": "ComponentStatus",
        "apiVersion": "v1",
        "metadata": {"name": name},
        "conditions": [condition],
    }
    return msgspec.json.encode(status)
