"""The OCI configuration that a container specification turns into."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sampan.node.runtime.capabilities import allowed_oom_score, capabilities
from sampan.node.runtime.oci import configuration
from sampan.node.runtime.types import ContainerError, ContainerSpec, Mount, Namespaces, Resources, Security
from sampan.node.runtime.users import Identity, resolve

ROOT = Identity(0, 0, (), "/root")
SPEC = ContainerSpec(
    id="c1",
    pod_uid="pod",
    name="web",
    rootfs=Path("/roots/c1"),
    argv=("serve", "--port", "80"),
    log_path=Path("/logs/c1"),
    cgroup_parent="/sampan-demo/node-1/pod",
    namespaces=Namespaces(network=Path("/ns/net"), ipc=Path("/ns/ipc"), uts=Path("/ns/uts")),
)


def namespaces(config: dict[str, Any]) -> dict[str, str]:
    return {one["type"]: one.get("path", "") for one in config["linux"]["namespaces"]}


def mount(config: dict[str, Any], destination: str) -> dict[str, Any] | None:
    return next((one for one in config["mounts"] if one["destination"] == destination), None)


def test_a_container_joins_its_pods_namespaces_and_has_its_own_processes() -> None:
    expected = {"network": "/ns/net", "ipc": "/ns/ipc", "uts": "/ns/uts", "pid": "", "mount": ""}
    assert namespaces(configuration(SPEC, ROOT)) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (Namespaces(), {"pid": "", "mount": ""}),
        (Namespaces(host_pid=True), {"mount": ""}),
        (Namespaces(pid=Path("/proc/7/ns/pid")), {"pid": "/proc/7/ns/pid", "mount": ""}),
    ],
)
def test_namespaces_not_named_are_the_nodes(given: Namespaces, expected: dict[str, str]) -> None:
    assert namespaces(configuration(replace(SPEC, namespaces=given), ROOT)) == expected


def test_environment_has_defaults_that_the_specification_overrides() -> None:
    spec = replace(SPEC, hostname="web-0", env={"PATH": "/bin", "A": "b=c"})
    environment = configuration(spec, ROOT)["process"]["env"]
    assert environment == ["PATH=/bin", "HOSTNAME=web-0", "HOME=/root", "A=b=c"]


def test_a_volume_takes_the_place_of_a_system_mount() -> None:
    config = configuration(replace(SPEC, mounts=(Mount.bind("/volumes/shm", "/dev/shm"),)), ROOT)
    assert [one["source"] for one in config["mounts"] if one["destination"] == "/dev/shm"] == ["/volumes/shm"]


def test_without_a_network_namespace_of_its_own_sys_is_the_nodes() -> None:
    config = configuration(replace(SPEC, namespaces=Namespaces()), ROOT)
    system = mount(config, "/sys")
    assert system is not None
    assert system["type"] == "bind"
    assert mount(config, "/sys/fs/cgroup") is None


def test_limits_are_in_the_kernels_units() -> None:
    wanted = Resources(cpu_shares=512, cpu_quota=50_000, memory_limit=64 << 20, pids_limit=100)
    linux = configuration(replace(SPEC, resources=wanted), ROOT)["linux"]
    assert linux["cgroupsPath"] == "/sampan-demo/node-1/pod/c1"
    assert linux["resources"]["cpu"] == {"shares": 512, "quota": 50_000, "period": 100_000}
    assert linux["resources"]["memory"] == {"limit": 64 << 20}
    assert linux["resources"]["pids"] == {"limit": 100}


@pytest.mark.parametrize(
    ("security", "has", "lacks"),
    [
        (Security(), {"CAP_NET_RAW", "CAP_CHOWN"}, {"CAP_NET_ADMIN", "CAP_SYS_ADMIN"}),
        (Security(add_capabilities=("NET_ADMIN",)), {"CAP_NET_ADMIN", "CAP_CHOWN"}, {"CAP_SYS_ADMIN"}),
        (Security(add_capabilities=("cap_net_admin",)), {"CAP_NET_ADMIN"}, set()),
        (Security(drop_capabilities=("ALL",), add_capabilities=("KILL",)), {"CAP_KILL"}, {"CAP_CHOWN"}),
        (Security(add_capabilities=("ALL",), drop_capabilities=("SYS_ADMIN",)), {"CAP_BPF"}, {"CAP_SYS_ADMIN"}),
        (Security(privileged=True), {"CAP_SYS_ADMIN", "CAP_BPF"}, set()),
    ],
)
def test_capabilities_are_added_and_dropped(security: Security, has: set[str], lacks: set[str]) -> None:
    names = set(capabilities(security, root=True)["effective"])
    assert has <= names
    assert not lacks & names
    assert capabilities(security, root=False)["effective"] == []


def test_who_adds_net_bind_service_has_it_as_any_user() -> None:
    """As images of servers have it in a file capability; nothing else is kept, and nobody keeps it unasked."""
    added = Security(drop_capabilities=("ALL",), add_capabilities=("NET_BIND_SERVICE", "KILL"))
    found = capabilities(added, root=False)
    assert [found[kind] for kind in ("effective", "permitted", "ambient")] == [["CAP_NET_BIND_SERVICE"]] * 3
    assert set(found["bounding"]) == {"CAP_NET_BIND_SERVICE", "CAP_KILL"}
    assert capabilities(Security(), root=False)["ambient"] == []


def test_privileged_containers_see_proc_unmasked() -> None:
    linux = configuration(replace(SPEC, security=Security(privileged=True)), ROOT)["linux"]
    assert (linux["maskedPaths"], linux["readonlyPaths"]) == ([], [])


PASSWD = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/var/www:/bin/sh\nbroken\n"
GROUP = "root:x:0:\nweb:x:33:\nlog:x:40:web,other\n"


@pytest.mark.parametrize(
    ("security", "expected"),
    [
        (Security(), Identity(0, 0, (), "/root")),
        (Security(user="web"), Identity(33, 33, (40,), "/var/www")),
        (Security(user="33"), Identity(33, 33, (40,), "/var/www")),
        (Security(user="web:log"), Identity(33, 40, (40,), "/var/www")),
        (Security(user="1000:7"), Identity(1000, 7, (), "/")),
        (Security(user="web", run_as_user=1000), Identity(1000, 0, (), "/")),
        (Security(user="web:log", run_as_user=0, run_as_group=5), Identity(0, 5, (), "/root")),
        (Security(supplemental_groups=(9, 8)), Identity(0, 0, (8, 9), "/root")),
    ],
)
def test_users_are_resolved_with_the_images_own_files(security: Security, expected: Identity) -> None:
    assert resolve(security, PASSWD, GROUP) == expected


@pytest.mark.parametrize("user", ["nobody", "web:nothing"])
def test_unknown_names_are_errors(user: str) -> None:
    with pytest.raises(ContainerError, match="unable to find"):
        resolve(Security(user=user), PASSWD, GROUP)


def test_a_machine_without_the_right_to_lower_oom_scores_keeps_its_own() -> None:
    assert allowed_oom_score(-997, held={"CAP_SYS_RESOURCE"}) == -997
    assert allowed_oom_score(-1000, held=set()) == int(Path("/proc/self/oom_score_adj").read_text())
    assert allowed_oom_score(1000, held=set()) == 1000


def test_no_capability_is_given_that_is_not_held() -> None:
    found = capabilities(Security(privileged=True), root=True, held={"CAP_KILL"})
    assert found["bounding"] == found["effective"] == ["CAP_KILL"]
