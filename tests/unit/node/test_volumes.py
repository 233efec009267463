"""Files of volumes: what they contain, and that they change all at once."""

import os
import threading
from pathlib import Path

import pytest

from sampan.api.core_v1 import (
    ConfigMap,
    ConfigMapSource,
    DownwardFile,
    DownwardSource,
    HostPathSource,
    KeyToPath,
    ObjectFieldSelector,
    Pod,
    ProjectedItem,
    ProjectedSource,
    Secret,
    SecretSource,
    ServiceAccountTokenSource,
    Volume,
)
from sampan.api.meta_v1 import ObjectMeta
from sampan.kernel import libc
from sampan.node.env import Sources
from sampan.node.fields import PodFacts
from sampan.node.volumes import atomic, host_path, projected, subpath
from sampan.node.volumes.atomic import File
from sampan.node.volumes.errors import VolumeError
from sampan.node.volumes.projected import Inputs

TOKEN = ServiceAccountTokenSource(path="token")
INPUTS = Inputs(
    Pod(metadata=ObjectMeta(name="p", namespace="ns", labels={"a": "b"})),
    PodFacts(),
    Sources({"cm": ConfigMap(data={"x": "1"}, binary_data={"y": b"\0"})}, {"s": Secret(data={"key": b"v"})}),
    {TOKEN: "jwt"},
)


def render(**volume: object) -> dict[str, File]:
    return projected.render(Volume(name="v", **volume), INPUTS)  # type: ignore[arg-type]


def test_a_config_map_becomes_a_file_per_key() -> None:
    assert render(config_map=ConfigMapSource(name="cm")) == {"x": File(b"1"), "y": File(b"\0")}


def test_items_choose_keys_paths_and_modes() -> None:
    items = (KeyToPath(key="x", path="sub/file", mode=0o400),)
    assert render(config_map=ConfigMapSource(name="cm", items=items)) == {"sub/file": File(b"1", 0o400)}


def test_a_projection_joins_its_sources() -> None:
    sources = (
        ProjectedItem(secret=SecretSource(name="s")),
        ProjectedItem(service_account_token=TOKEN),
        ProjectedItem(
            downward_api=DownwardSource(
                items=(DownwardFile(path="labels", field_ref=ObjectFieldSelector(field_path="metadata.labels")),)
            )
        ),
    )
    files = render(projected=ProjectedSource(sources=sources, default_mode=0o600))
    assert {path: file.content for path, file in files.items()} == {"key": b"v", "token": b"jwt", "labels": b'a="b"'}
    assert {file.mode for file in files.values()} == {0o600}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (ConfigMapSource(name="none"), 'configmap "none" not found'),
        (
            ConfigMapSource(name="cm", items=(KeyToPath(key="z", path="z"),)),
            "configmap references non-existent config key: z",
        ),
        (ConfigMapSource(name="cm", items=(KeyToPath(key="x", path="../out"),)), "invalid path: ../out"),
    ],
)
def test_what_is_missing_or_unsafe_is_refused(source: ConfigMapSource, message: str) -> None:
    with pytest.raises(VolumeError, match=message):
        render(config_map=source)


def test_an_optional_source_that_is_missing_gives_no_files() -> None:
    assert render(config_map=ConfigMapSource(name="none", optional=True)) == {}


def test_files_are_replaced_all_at_once_through_one_link(tmp_path: Path) -> None:
    assert atomic.write(tmp_path, {"a": File(b"1"), "d/b": File(b"2", 0o400)})
    first = os.readlink(tmp_path / "..data")
    assert (tmp_path / "a").read_bytes() == b"1"
    assert (tmp_path / "d" / "b").stat().st_mode & 0o777 == 0o400
    assert not atomic.write(tmp_path, {"a": File(b"1"), "d/b": File(b"2", 0o400)})
    assert atomic.write(tmp_path, {"a": File(b"3")})
    assert os.readlink(tmp_path / "..data") != first
    assert (tmp_path / "a").read_bytes() == b"3"
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("..")) == ["a"]
    assert len([path for path in tmp_path.iterdir() if path.is_dir() and not path.is_symlink()]) == 1


@pytest.mark.parametrize(
    ("kind", "path", "allowed"),
    [
        ("", "new", True),
        ("DirectoryOrCreate", "new", True),
        ("Directory", "new", False),
        ("Directory", "dir", True),
        ("File", "file", True),
        ("File", "dir", False),
        ("FileOrCreate", "other/file", True),
        ("Socket", "file", False),
    ],
)
def test_host_paths_are_checked_by_their_type(tmp_path: Path, kind: str, path: str, allowed: bool) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "file").touch()
    source = HostPathSource(path=f"/{path}", type=kind)
    if allowed:
        with host_path.find(source, tmp_path) as found:
            assert os.readlink(found.path) == str(tmp_path / path)
    else:
        with pytest.raises(VolumeError):
            host_path.find(source, tmp_path)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/data", "data"),
        ("/absolute", "data"),
        ("/relative/x", "data/x"),
        ("/var/run", "run"),
        ("/out/of/here", "etc/of/here"),
        ("/up", ""),
        ("/up/data", "data"),
        ("/", ""),
        ("//data//", "data"),
        ("/loop", None),
        ("/data/../data", None),
        ("/magic", None),
    ],
)
def test_host_paths_stay_in_the_nodes_root_whatever_links_are_there(
    tmp_path: Path, path: str, found: str | None
) -> None:
    root = tmp_path / "root"
    for name in ("data", "etc", "run", "var"):
        (root / name).mkdir(parents=True)
    links = {"absolute": "/data", "relative": "data", "var/run": "/run", "out": "/etc", "up": "../../..",
             "loop": "loop", "magic": "/proc/self/cwd"}  # fmt: skip
    for name, target in links.items():
        (root / name).symlink_to(target)
    if found is None:
        with pytest.raises((VolumeError, OSError)):
            host_path.find(HostPathSource(path=path, type="Directory"), root)
        return
    with host_path.find(HostPathSource(path=path), root) as place:
        assert os.readlink(place.path) == str(root / found).rstrip("/")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["root"]


@pytest.mark.parametrize("path", ["/proc/self/root/etc", "/proc/1/cwd", "/dev/fd/0", "/proc/self/fd/0", "/sys/../etc"])
def test_kernel_interfaces_are_no_way_out(tmp_path: Path, path: str) -> None:
    with pytest.raises((VolumeError, OSError)):
        host_path.find(HostPathSource(path=path), tmp_path)


@pytest.mark.parametrize("path", ["/dev/null", "/proc/meminfo", "/sys/class", "/dev", "/proc", "/sys"])
def test_kernel_interfaces_are_the_machines(tmp_path: Path, path: str) -> None:
    with host_path.find(HostPathSource(path=path), tmp_path) as found:
        assert os.path.samefile(found.path, path)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("a/b", "a/b"),
        ("inner", "there"),
        ("inner/x", "there/x"),
        ("..data/key", "..2026/key"),
        ("etc", None),
        ("etc/passwd", None),
        ("up", None),
        ("round/there", None),
        ("magic", None),
        ("/etc", None),
        ("../x", None),
        ("a/../../x", None),
    ],
)
def test_a_sub_path_never_leaves_its_volume(tmp_path: Path, path: str, found: str | None) -> None:
    volume = tmp_path / "volume"
    for name in ("there", "..2026"):
        (volume / name).mkdir(parents=True)
    (volume / "..2026/key").touch()
    links = {
        "inner": "there",
        "..data": "..2026",
        "etc": "/etc",
        "up": "..",
        "round": "../volume",
        "magic": "/proc/self/cwd",
    }
    for name, target in links.items():
        (volume / name).symlink_to(target)
    if found is None:
        with pytest.raises(VolumeError):
            subpath.find(volume, path)
        return
    with subpath.find(volume, path) as place:
        assert os.readlink(place.path) == str(volume / found)


def test_a_sub_path_does_not_leave_a_volume_that_is_changed_meanwhile(tmp_path: Path) -> None:
    """A directory and a link out of the volume are exchanged all the time (race of CVE-2021-25741)."""
    volume, outside = tmp_path / "volume", tmp_path / "outside"
    (volume / "d").mkdir(parents=True)
    outside.mkdir()
    (volume / "s").symlink_to(outside)
    over = threading.Event()

    def exchange() -> None:
        while not over.is_set():
            libc.call("renameat2", -100, os.fsencode(volume / "d"), -100, os.fsencode(volume / "s"), 2)

    thread = threading.Thread(target=exchange)
    thread.start()
    found: set[str] = set()
    try:
        for _ in range(3000):
            try:
                with subpath.find(volume, "d") as place:
                    found.add(os.readlink(place.path))
            except VolumeError:
                continue
    finally:
        over.set()
        thread.join()
    assert found <= {str(volume / "d"), str(volume / "s")}
    assert found


def test_a_sub_path_is_made_if_missing(tmp_path: Path) -> None:
    subpath.find(tmp_path, "a/b").close()
    assert (tmp_path / "a/b").is_dir()
