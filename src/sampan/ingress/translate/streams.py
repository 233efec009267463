"""TCP and UDP ports of the controller that lead to Services: the ConfigMaps of --tcp- and --udp-services-configmap."""

import re
from collections.abc import Mapping
from typing import Literal

from sampan.ingress.model import BackendKey, LoadBalancing, Source, Stream
from sampan.ingress.translate.types import Options, Problem, Wanted

_SERVICE = re.compile(
    r"([a-z0-9][-a-z0-9]{0,62})/([a-z0-9][-a-z0-9]{0,62}):([-a-z0-9]{1,15})(?::(PROXY|))?(?::(PROXY|))?", re.ASCII
)
_RESERVED = frozenset({10245, 10246, 10247, 10254, 8181})


def streams(
    data: Mapping[str, str], protocol: Literal["TCP", "UDP"], source: Source, options: Options
) -> tuple[list[Stream], list[Wanted], list[Problem]]:
    """The streams of one ConfigMap: `port: namespace/service:port[:PROXY][:PROXY]`; the first PROXY is for clients."""
    found: list[Stream] = []
    wanted: list[Wanted] = []
    problems: list[Problem] = []
    taken = _RESERVED | {options.listeners.http, options.listeners.https, options.listeners.status}
    for port, text in sorted(data.items()):
        match = _SERVICE.fullmatch(text.strip())
        if not re.fullmatch(r"\d{1,5}", port, re.ASCII) or not 0 < int(port) < 65536:
            problems.append(Problem(source, "InvalidStream", f"{port[:60]!r} is no port"))
        elif protocol == "TCP" and int(port) in taken:
            problems.append(Problem(source, "InvalidStream", f"port {port} is the controller's own"))
        elif match is None:
            message = f"port {port}: {text[:60]!r} must be namespace/service:port, with :PROXY after it if wanted"
            problems.append(Problem(source, "InvalidStream", message))
        else:
            key = BackendKey(match[1], match[2], match[3])
            name = f"{protocol.lower()}/{key.namespace}/{key.service}/{key.port}"
            found.append(Stream(int(port), protocol, name, match[4] == "PROXY", match[5] == "PROXY"))
            wanted.append(Wanted(name, key, LoadBalancing(), False, source, protocol))
    return found, wanted, problems
