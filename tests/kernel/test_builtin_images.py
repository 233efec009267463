"""Images that need no registry: the machine's programs, Sampan's own interpreter, stand-ins for well-known ones."""

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

import pytest

import sampan
from sampan.http.client import HTTPClient
from sampan.kernel import cgroups, mounts
from sampan.node.images import aliases, builtin
from sampan.node.images.reference import parse
from sampan.node.images.store import ImageStore
from sampan.node.images.types import Image
from sampan.node.rootfs import mount_rootfs, unmount_rootfs
from sampan.node.runtime.runtime import Runtime
from sampan.node.runtime.types import ContainerSpec, Security
from support.isolated import isolated

pytestmark = pytest.mark.kernel

DEADLINE = 20.0
GROUP = f"/sampan-test-builtin-{os.getpid()}"


async def start(runtime: Runtime, image: Image, directory: Path, argv: tuple[str, ...], **options: Any) -> None:
    spec = ContainerSpec(
        id="one",
        pod_uid="pod",
        name="one",
        rootfs=mount_rootfs(image, directory / "root"),
        argv=argv,
        env=dict(one.split("=", 1) for one in image.config.env),
        mounts=image.mounts,
        log_path=directory / "log",
        cgroup_parent=GROUP,
        **options,
    )
    await runtime.create(spec)
    await runtime.start("one")


async def clean(runtime: Runtime, directory: Path) -> None:
    await runtime.delete("one")
    unmount_rootfs(directory / "root")
    cgroups.remove(GROUP)


@isolated
async def test_sampans_own_image_runs_sampan_wherever_it_is_installed(tmp_path: Path) -> None:
    runtime = Runtime(tmp_path / "runtime")
    watching = asyncio.create_task(runtime.run())
    image = await ImageStore(tmp_path / "images").ensure("sampan")
    await start(runtime, image, tmp_path, (*image.config.entrypoint, "--version"))
    async with asyncio.timeout(DEADLINE):
        state = await runtime.wait("one")
    assert state.exit_code == 0, (tmp_path / "log").read_text()
    assert f"sampan {sampan.__version__}" in (tmp_path / "log").read_text()
    watching.cancel()
    await clean(runtime, tmp_path)


@isolated
async def test_nginx_of_the_machine_stands_in_for_its_image(tmp_path: Path) -> None:
    store = ImageStore(tmp_path / "images")
    if aliases.find(parse("nginx"), aliases.TABLE) is None:
        pytest.skip("nginx is not installed")
    image = await store.ensure("nginx:1.7.9")
    runtime = Runtime(tmp_path / "runtime")
    await start(runtime, image, tmp_path, image.config.command)
    client = HTTPClient("http://127.0.0.1:80")
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                answer = await client.request("GET", "/")
                break
            except OSError:
                await asyncio.sleep(0.02)
    assert (answer.status, b"Welcome to nginx!" in answer.body) == (200, True)
    await client.close()
    await clean(runtime, tmp_path)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", 80))


@isolated
async def test_an_image_of_ingress_nginx_is_sampans_controller_for_its_user(tmp_path: Path) -> None:
    """Whoever is number 101 starts it by the name that manifests give, and writes where nginx's file belongs."""
    runtime = Runtime(tmp_path / "runtime")
    watching = asyncio.create_task(runtime.run())
    image = builtin.ingress((), reference="quay.io/x:0.30.0", flags=("--created-events",))
    script = (
        "/nginx-ingress-controller --version && echo > /etc/nginx/new && mv -f /etc/nginx/new /etc/nginx/nginx.conf"
        " && test -x /wait-shutdown && id -u"
    )
    await start(runtime, image, tmp_path, ("sh", "-c", script), security=Security(run_as_user=builtin.INGRESS_USER))
    async with asyncio.timeout(DEADLINE):
        state = await runtime.wait("one")
    log = (tmp_path / "log").read_text()
    assert state.exit_code == 0, log
    assert f"Sampan ingress controller {sampan.__version__}" in log
    assert log.endswith(f" {builtin.INGRESS_USER}\n")
    watching.cancel()
    await clean(runtime, tmp_path)


def test_manifests_of_every_age_name_an_image_that_stands_in() -> None:
    for name in (
        "quay.io/kubernetes-ingress-controller/nginx-ingress-controller:0.30.0",
        "k8s.gcr.io/ingress-nginx/controller:v1.2.0",
        "registry.k8s.io/ingress-nginx/controller:v1.15.1@sha256:" + "0" * 64,
    ):
        found = aliases.find(parse(name), aliases.TABLE)
        assert found is not None
        assert found.builtin == builtin.INGRESS


@isolated
async def test_the_state_directory_is_hidden_wherever_it_is(tmp_path: Path) -> None:
    secret = tmp_path / "state"
    (secret / "pki").mkdir(parents=True)
    root = mount_rootfs(builtin.host((secret,)), tmp_path / "root")
    assert os.listdir(root / str(secret).lstrip("/")) == []
    assert os.listdir(root / "usr") == os.listdir("/usr")
    unmount_rootfs(tmp_path / "root")


def forget_file_systems() -> None:
    builtin._separate_file_systems.cache_clear()
    builtin._masks.cache_clear()


@isolated
async def test_volumes_may_lie_where_a_separate_file_system_has_no_directory(tmp_path: Path) -> None:
    """A ConfigMap at /etc/coredns, on a machine whose /etc is a mount: the machine gets no such directory."""
    mounts.bind("/etc", "/etc")
    forget_file_systems()
    root = mount_rootfs(builtin.host(()), tmp_path / "root")
    (root / "etc" / "new-directory").mkdir()
    assert (root / "etc" / "passwd").read_text() == Path("/etc/passwd").read_text()
    assert not Path("/etc/new-directory").exists()
    unmount_rootfs(tmp_path / "root")
    assert not (tmp_path / "root").exists()
    forget_file_systems()


LOOK = """
echo shadow: $(cat /etc/shadow /etc/gshadow /etc/ssh/ssh_host_*_key 2>/dev/null | wc -c)
echo files: $(find /var/lib /var/log /root /home /etc/ssl/private /run -type f 2>/dev/null | head -3)
echo written: $(touch /var/cache/x 2>/dev/null && echo yes)
echo tmp: $(touch /tmp/x /var/tmp/x && echo yes)
"""


@isolated
async def test_what_is_not_program_is_hidden(tmp_path: Path) -> None:
    """Passwords, keys, others' data and logs; also with /var as a file system of its own. What a container writes there
    the machine does not see.
    """
    for separate in (False, True):
        directory = tmp_path / str(separate)
        directory.mkdir()
        if separate:
            mounts.bind("/var", "/var")
            mounts.tmpfs("/var/cache", mode="1777")
            forget_file_systems()
        runtime = Runtime(directory / "runtime")
        watching = asyncio.create_task(runtime.run())
        await start(runtime, builtin.host(()), directory, ("sh", "-c", LOOK))
        async with asyncio.timeout(DEADLINE):
            await runtime.wait("one")
        lines = [line.split(" ", 3)[3] for line in (directory / "log").read_text().splitlines()]
        assert lines == ["shadow: 0", "files:", "written: yes", "tmp: yes"], (separate, lines)
        assert not Path("/var/cache/x").exists()
        watching.cancel()
        await clean(runtime, directory)
    forget_file_systems()


@isolated
async def test_a_directory_is_hidden_where_it_really_is(tmp_path: Path) -> None:
    """A home that is a link, or lies behind one, is hidden under its real path."""
    real = tmp_path / "real" / "home"
    real.mkdir(parents=True)
    (real / "secret").write_text("secret")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    root = mount_rootfs(builtin.host((tmp_path / "link" / "home",)), tmp_path / "root")
    assert os.listdir(root / str(real).lstrip("/")) == []
    unmount_rootfs(tmp_path / "root")
