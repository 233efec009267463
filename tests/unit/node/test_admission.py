"""Which pods a node refuses, and with which words."""

from typing import Any

import pytest

from sampan.api.core_v1 import (
    Container,
    ContainerPort,
    Pod,
    PodSpec,
    PodStatus,
    Probe,
    ResourceRequirements,
    SecurityContext,
)
from sampan.kernel import sysctl
from sampan.node.admission import SAFE_SYSCTLS, refusal
from sampan.node.probes import Streak
from sampan.node.stopping import parse_signal

LABELS = {"disk": "ssd"}
ROOM: dict[str, str | int] = {"cpu": "2", "memory": "1Gi", "pods": "3"}


def pod(*ports: ContainerPort, cpu: str = "", phase: str = "Running", **spec: Any) -> Pod:
    resources = ResourceRequirements(requests={"cpu": cpu} if cpu else {})
    containers = (Container(ports=ports, resources=resources),)
    return Pod(spec=PodSpec(containers=containers, **spec), status=PodStatus(phase=phase))


def port(number: int, protocol: str = "TCP", ip: str = "") -> ContainerPort:
    return ContainerPort(container_port=80, host_port=number, protocol=protocol, host_ip=ip)


@pytest.mark.parametrize(
    ("why", "new", "others", "reason"),
    [
        ("nothing against it", pod(), [], None),
        ("a wrong selector", pod(node_selector={"disk": "hdd"}), [], "NodeAffinity"),
        ("a taken port", pod(port(80)), [pod(port(80))], "NodePorts"),
        ("another protocol", pod(port(80, "UDP")), [pod(port(80))], None),
        ("another address", pod(port(80, ip="127.0.0.1")), [pod(port(80, ip="10.2.2.10"))], None),
        ("every address", pod(port(80, ip="127.0.0.1")), [pod(port(80, ip="0.0.0.0"))], "NodePorts"),
        ("a port of an ended pod", pod(port(80)), [pod(port(80), phase="Succeeded")], None),
        ("too little CPU left", pod(cpu="1500m"), [pod(cpu="1")], "OutOfcpu"),
        ("just enough CPU", pod(cpu="1"), [pod(cpu="1")], None),
        ("too many pods", pod(), [pod(), pod(), pod()], "OutOfpods"),
    ],
)
def test_refusals(why: str, new: Pod, others: list[Pod], reason: str | None) -> None:
    fate = refusal(new, others, LABELS, ROOM)
    assert (fate.reason if fate else None) == reason, why


def test_a_refusal_says_what_upstream_says() -> None:
    fate = refusal(pod(port(80)), [pod(port(80))], LABELS, ROOM)
    assert fate is not None
    words = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
    assert fate.message == words


@pytest.mark.parametrize(
    ("outcomes", "verdicts"),
    [
        ([True], [True]),
        ([False, False, False], [None, None, False]),
        ([False, False, True, False, False, False], [None, None, True, None, None, False]),
    ],
)
def test_a_probes_verdict_needs_as_many_outcomes_as_its_thresholds(
    outcomes: list[bool], verdicts: list[bool | None]
) -> None:
    streak = Streak(Probe(success_threshold=1, failure_threshold=3))
    assert [streak.add(outcome) for outcome in outcomes] == verdicts


@pytest.mark.parametrize(
    ("text", "number"),
    [("SIGQUIT", 3), ("quit", 3), ("9", 9), ("", 15), ("nonsense", 15), ("SIGRTMIN+3", 37)],
)
def test_stop_signals_are_read_as_images_write_them(text: str, number: int) -> None:
    assert parse_signal(text) == number


@pytest.mark.parametrize(
    ("name", "spec", "message"),
    [
        *((name, {}, None) for name in SAFE_SYSCTLS),
        ("net/ipv4/tcp_fin_timeout", {}, None),
        ("net.ipv4.tcp_fin_timeout", {"host_network": True},
         '"net.ipv4.tcp_fin_timeout" not allowed with host net enabled'),
        ("kernel.shm_rmid_forced", {"host_ipc": True}, '"kernel.shm_rmid_forced" not allowed with host ipc enabled'),
        ("kernel.core_pattern", {}, '"kernel.core_pattern" not allowlisted'),
        ("net.core.somaxconn", {}, '"net.core.somaxconn" not allowlisted'),
        ("../../srv/file", {}, '"......srv.file" not allowlisted'),
    ],
)  # fmt: skip
def test_sysctls_are_the_safe_ones_of_the_pods_own_namespaces(name: str, spec: dict, message: str | None) -> None:
    context = SecurityContext(sysctls=({"name": name, "value": "1"},))
    fate = refusal(pod(security_context=context, **spec), [], LABELS, ROOM)
    assert (fate and (fate.reason, fate.message)) == (message and ("SysctlForbidden", f"forbidden sysctl: {message}"))


@pytest.mark.parametrize(
    ("name", "namespace"),
    [
        ("net.ipv4.ip_forward", "net"),
        ("net/ipv4/conf/eth0.1/rp_filter", "net"),
        ("kernel.shmmax", "ipc"),
        ("kernel.sem", "ipc"),
        ("fs.mqueue.msg_max", "ipc"),
        ("kernel.core_pattern", None),
        ("kernel.semantics", None),
        ("vm.swappiness", None),
        ("../../etc/passwd", None),
        ("net/../kernel/core_pattern", None),
        ("net/ipv4/../../kernel/core_pattern", None),
        ("/proc/sys/net/ipv4/ip_forward", None),
        ("net.ipv4.", None),
        ("net", None),
        ("", None),
    ],
)
def test_only_parameters_of_a_namespace_have_a_path(name: str, namespace: str | None) -> None:
    assert sysctl.namespace_of(name) == namespace
    if namespace is None:
        with pytest.raises(ValueError, match="not a kernel parameter"):
            sysctl.path_of(name)
    else:
        assert sysctl.ROOT in sysctl.path_of(name).parents
