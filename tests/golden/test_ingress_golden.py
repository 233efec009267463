"""nginx.conf for a plain site and for one that uses every filter, as golden files that nginx accepts.

`SAMPAN_UPDATE_GOLDEN=1 pytest tests/golden` writes them anew.
"""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from sampan.ingress.model import (
    Backend,
    BackendKey,
    Configuration,
    Endpoint,
    Host,
    HostTLS,
    PathMatch,
    PathType,
    Route,
    Source,
    Stream,
    Variable,
)
from sampan.ingress.nginx.render import Options, Renderer, Structure
from sampan.ingress.settings import DEFAULTS
from support.hostile import template
from support.nginxworld import certificate

HERE = Path(__file__).parent
PRIVATE = "/run/sampan-ingress"
KEY = BackendKey("jds", "myblog", "80")
BACKENDS = {"jds/myblog/80": Backend("jds/myblog/80", KEY, (Endpoint("10.244.1.24", 8002), Endpoint("fd00::1", 8002)))}


def plain() -> Configuration:
    source = Source("jds", "myblog")
    routes = tuple(
        Route(PathMatch(PathType.PREFIX, path), source, "jds/myblog/80", KEY) for path in ("/", "/foo")
    )  # fmt: skip
    hosts = (Host("*.luffy.com", routes[:1]), Host("myblog.jds.com", routes, tls=HostTLS()))
    return Configuration(hosts=hosts, backends=BACKENDS, settings=DEFAULTS)


def filters() -> Configuration:
    """Everything but what needs real certificates."""
    host = template()
    routes = tuple(replace(route, upstream_tls=None, backend="jds/myblog/80") for route in host.routes)
    streams = (Stream(9000, "TCP", "jds/myblog/80", send_proxy=True), Stream(53, "UDP", "jds/myblog/80"))
    return Configuration(
        hosts=(replace(host, routes=routes, tls=HostTLS()),), backends=BACKENDS, settings=DEFAULTS, streams=streams,
        default_backend="jds/myblog/80", request_headers=(("X-Own", ("a$", Variable("host"))),),
        response_headers=(("X-Added", ("b",)),),
    )  # fmt: skip


CASES = {"plain": plain, "filters": filters}


def rendered(name: str) -> Structure:
    return Renderer(Options(private=Path(PRIVATE), workers=2, resolvers=("10.96.0.10",))).structure(CASES[name]())


@pytest.mark.parametrize("name", CASES)
def test_text_is_the_golden_one(name: str) -> None:
    """The same configuration makes the same file; open files are this machine's."""
    lines = [line for line in rendered(name).text.splitlines(True) if not line.startswith("worker_rlimit_nofile")]
    golden = HERE / f"ingress_{name}.txt"
    if os.environ.get("SAMPAN_UPDATE_GOLDEN"):
        golden.write_text("".join(lines))
    assert "".join(lines) == golden.read_text()


@pytest.mark.parametrize("name", CASES)
def test_nginx_accepts_the_golden_text(name: str, tmp_path: Path) -> None:
    """Under another private directory, whose name is all that differs."""
    for directory in ("files", "tmp", "lua"):
        (tmp_path / directory).mkdir()
    made, _ = certificate("default", "default")
    (tmp_path / "default.pem").write_bytes(made.certificate + made.key)
    for path, content in rendered(name).files.items():
        (tmp_path / "files" / Path(path).name).write_bytes(content)
    (tmp_path / "nginx.conf").write_text((HERE / f"ingress_{name}.txt").read_text().replace(PRIVATE, str(tmp_path)))
    command = [
        "unshare",
        "-n",
        "nginx",
        "-t",
        "-q",
        "-e",
        "stderr",
        "-p",
        str(tmp_path),
        "-c",
        f"{tmp_path}/nginx.conf",
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
