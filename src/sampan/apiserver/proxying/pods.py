"""`pods/log`, `exec`, `attach` and `portforward`: the agent of the pod's node does the work.

Paths and parameters are the kubelet's, so that the agent looks like one: `/containerLogs/NS/POD/CONTAINER`,
`/exec/NS/POD/CONTAINER?command=…&input=1&output=1`, `/portForward/NS/POD`.
"""

from urllib.parse import quote, urlencode

from sampan.apiserver.handlers.call import Call
from sampan.apiserver.proxying.agents import Agents
from sampan.apiserver.proxying.tunnel import pass_on
from sampan.http.messages import Query, Response
from sampan.machinery.errors import BadRequest
from sampan.machinery.objects import Object

_LOG_PARAMETERS = (
    "follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes", "stream",
    "insecureSkipTLSVerifyBackend",
)  # fmt: skip
_STREAMS = (("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty"))


async def log(call: Call, agents: Agents) -> Response | None:
    """Raises NotFound, BadRequest (no such container, no node yet)."""
    pod, node = await _placed_pod(call)
    container = choose_container(pod, call.query.get("container"))
    parameters = [(name, call.query.get(name)) for name in _LOG_PARAMETERS if call.query.has(name)]
    return await _forward(call, agents, node, f"containerLogs/{_path(call)}/{quote(container)}", parameters)


async def execute(call: Call, agents: Agents) -> Response | None:
    """`exec` and `attach`. Raises NotFound, BadRequest."""
    pod, node = await _placed_pod(call)
    container = choose_container(pod, call.query.get("container"))
    parameters = stream_parameters(call.query)
    return await _forward(call, agents, node, f"{call.info.subresource}/{_path(call)}/{quote(container)}", parameters)


async def port_forward(call: Call, agents: Agents) -> Response | None:
    """Raises NotFound, BadRequest."""
    _, node = await _placed_pod(call)
    parameters = [("port", port) for port in call.query.getall("ports")]
    return await _forward(call, agents, node, f"portForward/{_path(call)}", parameters)


async def _placed_pod(call: Call) -> tuple[Object, str]:
    info = call.info
    pod = await call.context.get("pods", info.namespace, info.name)
    if pod is None:
        raise call.home.not_found(info.name)
    node = (pod.get("spec") or {}).get("nodeName")
    if not node:
        raise BadRequest(f"pod {info.name} does not have a host assigned")
    return pod, node


def choose_container(pod: Object, wanted: str) -> str:
    """The container that is meant: the named one, or the only one. Raises BadRequest."""
    name, spec = pod["metadata"]["name"], pod["spec"]
    main = [container["name"] for container in spec.get("containers") or ()]
    init = [container["name"] for container in spec.get("initContainers") or ()]
    extra = [container["name"] for container in spec.get("ephemeralContainers") or ()]
    if not wanted:
        if len(main) == 1:
            return str(main[0])
        listed = f"choose one of: [{' '.join(main)}]"
        if init:
            listed += f" or one of the init containers: [{' '.join(init)}]"
        raise BadRequest(f"a container name must be specified for pod {name}, {listed}")
    if wanted not in (*main, *init, *extra):
        raise BadRequest(f"container {wanted} is not valid for pod {name}")
    return wanted


def stream_parameters(query: Query) -> list[tuple[str, str]]:
    """The kubelet's names for the streams that the client wants."""
    chosen = [(theirs, "1") for ours, theirs in _STREAMS if query.flag(ours)]
    return chosen + [("command", part) for part in query.getall("command")]


def _path(call: Call) -> str:
    return f"{quote(call.info.namespace)}/{quote(call.info.name)}"


async def _forward(
    call: Call, agents: Agents, node: str, path: str, parameters: list[tuple[str, str]]
) -> Response | None:
    client = await agents.of_node(node)
    target = f"/{path}?{urlencode(parameters)}" if parameters else f"/{path}"
    return await pass_on(call.request, client, target)
