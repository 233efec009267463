"""Images from outside: loaded from an archive, and pulled by nodes from a registry on the loopback, if they may."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from e2e_support import eventually, run
from test_box import Machine, answers

from support.images import docker_archive, push
from support.isolated import isolated

REGISTRY = """\
version: 0.1
storage: {filesystem: {rootdirectory: %s}}
http: {addr: "127.0.0.1:5000"}
"""


@contextmanager
def registry(directory: Path) -> Iterator[str]:
    """Debian's docker-registry on the loopback; yields its address."""
    config = directory / "registry.yml"
    config.write_text(REGISTRY % (directory / "registry"))
    with (directory / "registry.log").open("w") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(config)], stdout=log, stderr=log)
        try:
            eventually(lambda: answers("http://127.0.0.1:5000/v2/"), "the registry answers")
            yield "127.0.0.1:5000"
        finally:
            process.kill()
            process.wait()


@isolated
async def test_pods_run_images_that_were_loaded_and_images_that_nodes_pull(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    loaded = docker_archive(
        tmp_path / "loaded.tar", "shop/loaded:1", ["sh", "-c", "cat /made; sleep 600"], {"made": "L"}
    )
    pulled = docker_archive(tmp_path / "pulled.tar", "pulled:1", ["sh", "-c", "cat /made; sleep 600"], {"made": "P"})
    assert "shop/loaded:1" in machine.sampan("image load", str(loaded))
    machine.sampan("up --name box1 --nodes 2 --allow-host-loopback")
    machine.kubectl("run loaded --image=shop/loaded:1 --image-pull-policy=Never")
    machine.kubectl("run missing --image=shop/missing:1 --image-pull-policy=Never")
    with registry(tmp_path) as address:
        push(pulled, address, "team/pulled", "2")
        machine.kubectl(f"run pulled --image={address}/team/pulled:2")
        machine.kubectl("wait --for=condition=Ready pod/loaded pod/pulled --timeout=30s")
    assert machine.kubectl("logs loaded").strip() == "L"
    assert machine.kubectl("logs pulled").strip() == "P"
    reason = "-o jsonpath={.status.containerStatuses[0].state.waiting.reason}"
    eventually(lambda: machine.kubectl(f"get pod missing {reason}") == "ErrImageNeverPull", "the missing image is told")
    listed = machine.sampan("image ls")
    assert "shop/loaded:1" in listed
    assert "team/pulled:2" in listed
    machine.sampan("down --name box1")
    assert "shop/loaded:1" in machine.sampan("image ls")
    machine.sampan("image rm shop/loaded:1 127.0.0.1:5000/team/pulled:2")
    assert machine.sampan("image ls") == ""
    assert run("find", str(machine.home / "images"), "-name", "made") == ""
