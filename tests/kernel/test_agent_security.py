"""What the security context of a pod says holds for everything that runs in its containers, and what pods may not have
they do not get.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from sampan.client.resources import PODS
from sampan.kernel import cgroups
from sampan.kernel import mounts as mountpoints
from sampan.machinery.errors import Invalid
from sampan.node.images.store import ImageStore
from sampan.node.images.types import Image, ImageConfig
from sampan.node.runtime.runtime import Runtime
from support.agent import Cluster, cluster, eventually, ready, state
from support.apiserver import make_pki
from support.isolated import isolated

pytestmark = pytest.mark.kernel
make_pki()

QUICK = {"terminationGracePeriodSeconds": 0}

SHOW = r"""
for pid in 1 self; do
  echo "== $pid"
  grep -E '^(Uid|Gid|Groups|CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp):' /proc/$pid/status
  readlink /proc/$pid/cwd; cat /proc/$pid/cgroup /proc/$pid/oom_score_adj /proc/$pid/limits
  cat /proc/$pid/environ | tr '\0' '\n' | grep -vE '^(PWD|OLDPWD|SHLVL|_)=' | sort
done
"""
CONTEXTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing said": ({}, {}),
    "a user": ({"runAsUser": 1000}, {}),
    "user and group": ({"runAsUser": 1000, "runAsGroup": 1234}, {"supplementalGroups": [77, 78], "fsGroup": 79}),
    "the pod's user": ({}, {"runAsUser": 1001, "runAsGroup": 1002}),
    "the container's over the pod's": ({"runAsUser": 1003}, {"runAsUser": 1001}),
    "no capabilities": ({"capabilities": {"drop": ["ALL"]}}, {}),
    "one capability": ({"capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}, {}),
    "more capabilities": ({"capabilities": {"add": ["NET_ADMIN"]}}, {}),
    "no escalation": ({"allowPrivilegeEscalation": False}, {}),
    "a user without anything": (
        {"runAsUser": 1000, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}, {}
    ),
    "privileged": ({"privileged": True}, {}),
    "read-only": ({"readOnlyRootFilesystem": True}, {}),
}  # fmt: skip


async def _exec(one: Cluster, pod: dict[str, Any], *command: str, **options: Any) -> str:
    """What a command prints in the pod's container; run by another runtime than the agent's."""
    ident = pod["status"]["containerStatuses"][0]["containerID"].partition("://")[2]
    runtime = Runtime(one.options.volatile / "runtime")
    done = await runtime.exec(ident, command, **options)
    assert done.exit_code == 0, done
    return done.stdout.decode()


@isolated
async def test_commands_run_as_the_containers_own_program_does(tmp_path: Path) -> None:
    """User, groups, capabilities, no_new_privs, directory, control group, limits and environment; whatever is set."""
    async with cluster(tmp_path) as one, one.agent():
        for number, (container, shared) in enumerate(CONTEXTS.values()):
            spec = {**QUICK, "securityContext": shared}
            env = [{"name": "GREETING", "value": "hello world"}]
            fields = {"securityContext": container, "env": env, "workingDir": "/usr/lib"}
            await one.create(f"p{number}", "sleep", "1000", spec=spec, **fields)
        for number, what in enumerate(CONTEXTS):
            pod = await one.until(f"p{number}", ready, what)
            _, first, second = (await _exec(one, pod, "sh", "-c", SHOW)).split("== ")
            assert first.partition("\n")[2] == second.partition("\n")[2], what
            assert "GREETING=hello world" in second
            assert "/usr/lib\n" in second


@isolated
async def test_probes_and_hooks_run_as_the_containers_user(tmp_path: Path) -> None:
    probe = {"exec": {"command": ["sh", "-c", "test $(id -u) = 1000"]}, "periodSeconds": 1}
    hook = {"postStart": {"exec": {"command": ["sh", "-c", "test $(id -u) = 1000 && ! touch /usr/x"]}}}
    async with cluster(tmp_path) as one, one.agent():
        context = {"runAsUser": 1000}
        await one.create(
            "web", "sleep", "1000", spec=QUICK, securityContext=context, readinessProbe=probe, lifecycle=hook
        )
        pod = await one.until("web", ready)
        assert pod["status"]["containerStatuses"][0]["restartCount"] == 0


@isolated
async def test_pods_get_safe_sysctls_of_their_own_and_no_others(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    canary.write_text("mine")
    machines = Path("/proc/sys/kernel/printk_ratelimit_burst")
    before = machines.read_text()
    async with cluster(tmp_path) as one, one.agent():

        def sysctls(name: str, **spec: Any) -> dict[str, Any]:
            return {**QUICK, "securityContext": {"sysctls": [{"name": name, "value": "11"}]}, **spec}

        for name in (f"../..{canary}", "/etc/x", "kernel..core_pattern", "kernel.Core", "-x", ""):
            with pytest.raises(Invalid):
                await one.create("refused", "true", spec=sysctls(name))
        for name, spec in (
            ("net.ipv4.tcp_fin_timeout", {"hostNetwork": True}),
            ("kernel.shm_rmid_forced", {"hostIPC": True}),
        ):
            with pytest.raises(Invalid, match="may not be specified when"):
                await one.create("refused", "true", spec=sysctls(name, **spec))
        forbidden = ("kernel.printk_ratelimit_burst", "kernel/core_pattern", "net.core.somaxconn", "vm.swappiness")
        for number, name in enumerate(forbidden):
            await one.create(f"forbidden-{number}", "true", spec=sysctls(name))
            pod = await one.until(f"forbidden-{number}", lambda status: status.get("phase") == "Failed", name)
            assert pod["status"]["reason"] == "SysctlForbidden"
            assert pod["status"]["message"].endswith(f'forbidden sysctl: "{name.replace("/", ".")}" not allowlisted')
        await one.create("safe", "sleep", "1000", spec=sysctls("net.ipv4.tcp_fin_timeout"))
        pod = await one.until("safe", ready)
        assert await _exec(one, pod, "cat", "/proc/sys/net/ipv4/tcp_fin_timeout") == "11\n"
        assert Path("/proc/sys/net/ipv4/tcp_fin_timeout").read_text() != "11\n"
    assert canary.read_text() == "mine"
    assert machines.read_text() == before


@isolated
async def test_a_container_that_must_not_be_root_is_not_by_any_name(tmp_path: Path) -> None:
    root = tmp_path / "odd-root"
    for name in ("etc", "bin"):
        (root / name).mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\nadmin:x:0:0::/:/bin/sh\nweb:x:55:55::/:/bin/sh\n")
    users = {"admin": True, "root": True, "0": True, "00": True, "": True, "0:5": True, "web": False, "55": False}
    async with cluster(tmp_path) as one, one.agent():
        original = ImageStore._builtin
        user = ""

        def builtin(self: ImageStore, name: str) -> Image:
            config = ImageConfig(command=("/bin/absent",), user=user)
            odd = Image(id="host:odd", reference="odd", layers=(root,), config=config)
            return odd if name == "sampan" else original(self, name)

        pytest.MonkeyPatch().setattr(ImageStore, "_builtin", builtin)
        for number, (user, refused) in enumerate(users.items()):
            context = {"runAsNonRoot": True}
            await one.create(f"p{number}", image="sampan", spec={**QUICK, "securityContext": context})
            pod = await one.until(f"p{number}", lambda status: "message" in state(status).get("waiting", {}), user)
            waiting = state(pod["status"])["waiting"]
            assert (waiting["reason"] == "CreateContainerConfigError") == refused, (user, waiting)
            if refused:
                assert "container has runAsNonRoot and image will run as root" in waiting["message"]
        spec = {**QUICK, "securityContext": {"runAsNonRoot": True}}
        await one.create("allowed", "sleep", "1000", spec=spec, securityContext={"runAsNonRoot": False})
        await one.until("allowed", ready)
        await one.create("number", "sleep", "1000", spec=spec, securityContext={"runAsUser": 0})
        await one.until("number", lambda status: "breaks non-root policy" in str(state(status).get("waiting")))
    assert os.geteuid() == 0


RACE = """
import ctypes, os, time
libc = ctypes.CDLL(None)
os.chdir("/v")
os.makedirs("d", exist_ok=True)
os.path.lexists("s") or os.symlink("%s", "s")
open("ok", "w").close()
end = time.time() + 20
while time.time() < end:
    libc.syscall(316, -100, b"d", -100, b"s", 2)
time.sleep(10000)
"""


@isolated
async def test_a_sub_path_that_is_swapped_meanwhile_mounts_nothing_of_the_machines(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    canary.mkdir()
    (canary / "file").write_text("mine")
    mounts = [{"name": "v", "mountPath": "/v"}]
    probe = {"exec": {"command": ["test", "-e", "/v/ok"]}, "periodSeconds": 1}
    flip = {"name": "flip", "image": "host", "restartPolicy": "Always", "volumeMounts": mounts, "startupProbe": probe,
            "command": ["python3", "-c", RACE % canary]}  # fmt: skip
    spec = {**QUICK, "initContainers": [flip], "volumes": [{"name": "v", "emptyDir": {}}]}
    victim = ("sh", "-c", "test ! -e /m/file || echo taken > /m/file; exec sleep 1000")
    async with cluster(tmp_path) as one, one.agent():
        for number in range(6):
            await one.create(f"race-{number}", *victim, spec=spec, volumeMounts=[
                {"name": "v", "mountPath": "/m", "subPath": "d"}
            ])  # fmt: skip
        for number in range(6):
            await one.until(f"race-{number}", lambda status: state(status).get("running") or "message" in str(status))
        assert (canary / "file").read_text() == "mine"


@isolated
async def test_a_sub_path_is_mounted_anew_for_each_run_and_taken_away_with_its_pod(tmp_path: Path) -> None:
    volumes = [{"name": "v", "emptyDir": {}}]
    mounts = [
        {"name": "v", "mountPath": "/whole"},
        {"name": "v", "mountPath": "/part", "subPath": "a/b"},
        {"name": "v", "mountPath": "/same", "subPath": "a/b", "readOnly": True},
    ]
    script = "echo again >> /part/runs; cat /same/runs; test $(wc -l < /part/runs) = 2 && exec sleep 1000"
    async with cluster(tmp_path) as one, one.agent():
        await one.create("web", "sh", "-c", script, spec={**QUICK, "volumes": volumes}, volumeMounts=mounts)
        pod = await one.until("web", lambda status: ready(status) and status["containerStatuses"][0]["restartCount"])
        assert await _exec(one, pod, "cat", "/whole/a/b/runs") == "again\nagain\n"
        await one.client.delete(PODS, "web", "default")
        await one.until_gone("web")

        async def clean() -> bool:
            return not list(one.options.pods.iterdir()) and not mountpoints.below(one.options.pods)

        await eventually(clean, lambda: f"left: {mountpoints.below(one.options.pods)}")


@isolated
async def test_host_paths_are_the_nodes_whatever_links_pods_make_there(tmp_path: Path) -> None:
    canary = Path(tempfile.mkdtemp(prefix="sampan-canary-", dir="/srv"))
    (canary / "file").write_text("mine")
    async with cluster(tmp_path) as one, one.agent():

        async def run(name: str, path: str, script: str) -> str:
            spec = {**QUICK, "restartPolicy": "Never", "volumes": [{"name": "h", "hostPath": {"path": path}}]}
            await one.create(name, "sh", "-c", script, spec=spec, volumeMounts=[{"name": "h", "mountPath": "/h"}])
            pod = await one.until(name, lambda status: "terminated" in state(status))
            return str(state(pod["status"])["terminated"].get("message", ""))

        await run("first", "/data", f"ln -s {canary} /h/esc; echo shared > /h/file")
        assert "shared" in await run("second", "/data", "cat /h/file > /dev/termination-log")
        seen = await run("third", "/data/esc", "ls /h > /dev/termination-log; echo taken > /h/file")
        assert seen == "file\n"
        assert "sampan" not in await run("fourth", "/var/run", "ls /h > /dev/termination-log")
        found = (canary / "file").read_text()
    shutil.rmtree(canary)
    assert found == "mine"


@isolated
async def test_a_pod_has_a_group_with_its_limits_and_the_agent_is_spared_before_it(tmp_path: Path) -> None:
    async with cluster(tmp_path, pod_pids_limit=40) as one, one.agent():
        resources = {"requests": {"cpu": "500m"}, "limits": {"memory": "64Mi"}}
        bomb = "for i in $(seq 60); do sleep 1000 & done; echo unlimited > /dev/termination-log; exec sleep 1000"
        await one.create("web", "sh", "-c", bomb, spec=QUICK, resources=resources)
        pod = await one.until("web", lambda status: "running" in state(status) or "terminated" in state(status))
        group = f"{one.options.cgroup_parent}/{pod['metadata']['uid']}"
        assert len(cgroups.processes(group)) <= 40
        found = cgroups.hierarchies()
        if found.version == 1:
            assert (found.by_controller["cpu"] / group.lstrip("/") / "cpu.shares").read_text() == "512\n"
            limit = found.by_controller["memory"] / group.lstrip("/") / "memory.limit_in_bytes"
            assert limit.read_text() == f"{64 << 20}\n"
        await one.create("best", "sleep", "1000", spec=QUICK)
        pod = await one.until("best", ready)
        assert await _exec(one, pod, "cat", "/proc/1/oom_score_adj", "/proc/self/oom_score_adj") == "1000\n1000\n"
        assert int(Path("/proc/self/oom_score_adj").read_text()) <= 0
