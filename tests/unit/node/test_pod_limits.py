"""The limits of a pod's own control group."""

import pytest

from sampan.api.core_v1 import Container, Pod, PodSpec, ResourceRequirements
from sampan.kernel import cgroups
from sampan.kernel.cgroups import Limits
from sampan.node.container_spec import pod_limits


def container(name: str, cpu: str = "", limit: str = "", memory: str = "", restart: str = "") -> Container:
    requests = {"cpu": cpu} if cpu else {}
    limits = ({"cpu": limit} if limit else {}) | ({"memory": memory} if memory else {})
    return Container(
        name=name, resources=ResourceRequirements(requests=requests, limits=limits), restart_policy=restart
    )


@pytest.mark.parametrize(
    ("why", "init", "main", "expected"),
    [
        ("best effort", [], [container("a")], Limits(2, pids=9)),
        ("requests add up", [], [container("a", "700m"), container("b", "1")], Limits(1740, pids=9)),
        ("limits of all", [], [container("a", limit="1", memory="1Mi"), container("b", limit="500m", memory="2Mi")],
         Limits(1536, 150_000, memory=3 << 20, pids=9)),
        ("one without a limit", [], [container("a", limit="1", memory="1Mi"), container("b")], Limits(1024, pids=9)),
        ("the largest init container", [container("i", "3"), container("j", "1")], [container("a", "1")],
         Limits(3072, pids=9)),
        ("a sidecar beside", [container("s", "1", restart="Always"), container("i", "3")], [container("a", "1")],
         Limits(4096, pids=9)),
    ],
)  # fmt: skip
def test_a_pods_group_has_what_its_containers_have_together(why, init, main, expected):
    assert pod_limits(Pod(spec=PodSpec(init_containers=tuple(init), containers=tuple(main))), 9) == expected, why


def test_both_versions_of_control_groups_have_a_file_for_each_limit():
    limits = Limits(1024, 50_000, memory=1 << 20, pids=10)
    assert {one[1:] for one in cgroups._settings(limits, 2)} == {
        ("cpu.weight", "39"), ("cpu.max", "50000 100000"), ("memory.max", "1048576"), ("pids.max", "10")
    }  # fmt: skip
    assert {one[1:] for one in cgroups._settings(limits, 1)} == {
        ("cpu.shares", "1024"), ("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "50000"),
        ("memory.limit_in_bytes", "1048576"), ("pids.max", "10"),
    }  # fmt: skip
    assert [one[1] for one in cgroups._settings(Limits(2), 1)] == ["cpu.shares"]
