"""Defaults of pods and of pod templates: the pod's specification, its containers, probes and volumes.

Templates get the same as pods, except for what depends on the pod being real: host ports of a pod on the host's
network, service links and requests taken from limits (`default_pod`).
"""

from sampan.apiserver.registry.defaults.fill import Table, child, each, fill, fill_zero
from sampan.machinery import quantity
from sampan.machinery.objects import Object

_POD_SPEC: Table = {
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "dnsPolicy": "ClusterFirst",
    "securityContext": dict,
    "schedulerName": "default-scheduler",
}
_CONTAINER: Table = {
    "resources": dict,
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
}
_PORT: Table = {"protocol": "TCP"}
_PROBE: Table = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
_HTTP_GET: Table = {"path": "/", "scheme": "HTTP"}
_FIELD_REF: Table = {"apiVersion": "v1"}
_RESOURCE_FIELD_REF: Table = {"divisor": "0"}
_TOKEN: Table = {"expirationSeconds": 3600}
_MODE: Table = {"defaultMode": 420}
_HOST_PATH: Table = {"type": ""}
_CLAIM: Table = {"volumeMode": "Filesystem"}
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")


def default_pod(pod: Object) -> None:
    """Defaults of a pod itself."""
    spec = child(pod, "spec")
    default_pod_spec(spec)
    fill(spec, {"enableServiceLinks": True})
    on_host = spec.get("hostNetwork")
    for field in ("initContainers", "containers"):
        for container in each(spec, field):
            _requests_from_limits(container["resources"])
            if on_host:
                _host_ports(container)


def default_template(template: Object) -> None:
    """Defaults of a pod template in a workload."""
    child(template, "metadata")
    default_pod_spec(child(template, "spec"))


def default_pod_spec(spec: Object) -> None:
    """What pods and templates share."""
    fill(spec, _POD_SPEC)
    _account_names(spec)
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for container in each(spec, field):
            _container(container)
    for volume in each(spec, "volumes"):
        _volume(volume)
    if "overhead" in spec:
        canonical_quantities(spec["overhead"])


def canonical_quantities(amounts: Object | None) -> None:
    """Write every quantity of a map in canonical form (`1000m` becomes `1`); what does not parse is left alone."""
    if not amounts:
        return
    for name, amount in amounts.items():
        try:
            amounts[name] = str(quantity.parse(amount))
        except ValueError:
            continue


def pull_policy(image: str) -> str:
    """Always for `latest`, said or implied; otherwise only when the image is not there yet."""
    name, digest, _ = image.partition("@")
    last = name.rpartition("/")[2]
    _, colon, tag = last.partition(":")
    if digest and not colon:
        return "IfNotPresent"
    return "Always" if not colon or tag == "latest" else "IfNotPresent"


def _account_names(spec: Object) -> None:
    """`serviceAccount` is the old name of `serviceAccountName`; both always say the same."""
    name = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if name:
        spec["serviceAccountName"] = spec["serviceAccount"] = name


def _container(container: Object) -> None:
    fill(container, _CONTAINER)
    if not container.get("imagePullPolicy"):
        container["imagePullPolicy"] = pull_policy(container.get("image") or "")
    for port in each(container, "ports"):
        fill(port, _PORT)
    for variable in each(container, "env"):
        if source := variable.get("valueFrom"):
            _references(source)
    resources = container["resources"]
    canonical_quantities(resources.get("limits"))
    canonical_quantities(resources.get("requests"))
    for name in _PROBES:
        if probe := container.get(name):
            _probe(probe)
    for handler in (container.get("lifecycle") or {}).values():
        if isinstance(handler, dict) and (get := handler.get("httpGet")):
            fill(get, _HTTP_GET)


def _probe(probe: Object) -> None:
    fill_zero(probe, _PROBE)
    if get := probe.get("httpGet"):
        fill(get, _HTTP_GET)
    if "grpc" in probe and isinstance(probe["grpc"], dict):
        probe["grpc"].setdefault("service", "")


def _references(holder: Object) -> None:
    """An environment variable's or a downward API file's source."""
    if field := holder.get("fieldRef"):
        fill(field, _FIELD_REF)
    if resource := holder.get("resourceFieldRef"):
        fill(resource, _RESOURCE_FIELD_REF)


def _volume(volume: Object) -> None:
    if len(volume) < 2:
        volume["emptyDir"] = {}
        return
    for source in ("secret", "configMap", "downwardAPI", "projected"):
        if isinstance(held := volume.get(source), dict):
            fill(held, _MODE)
            _files(held)
    if isinstance(path := volume.get("hostPath"), dict):
        path.setdefault("type", _HOST_PATH["type"])
    if isinstance(ephemeral := volume.get("ephemeral"), dict):
        fill(child(child(ephemeral, "volumeClaimTemplate"), "spec"), _CLAIM)


def _files(source: Object) -> None:
    """The items of a volume source, and the sources that a projected volume joins."""
    for item in each(source, "items"):
        _references(item)
    for part in each(source, "sources"):
        if token := part.get("serviceAccountToken"):
            fill(token, _TOKEN)
        for item in each(part.get("downwardAPI") or {}, "items"):
            _references(item)


def _requests_from_limits(resources: Object) -> None:
    limits = resources.get("limits")
    if limits:
        requests = child(resources, "requests")
        for name, amount in limits.items():
            requests.setdefault(name, amount)


def _host_ports(container: Object) -> None:
    for port in each(container, "ports"):
        fill_zero(port, {"hostPort": port.get("containerPort")})
