"""The user's kubeconfig gains and loses a context; nothing else in it ever changes, whatever happens."""

import multiprocessing
import os
import time
from pathlib import Path

import pytest
import yaml

from sampan.cluster import kubeconfig
from sampan.cluster.kubeconfig import KubeconfigError

THEIRS = """\
apiVersion: v1
kind: Config
clusters: [{name: prod, cluster: {server: "https://prod", extra: 1}}]
users: [{name: me, user: {exec: {command: aws}}}]
contexts: [{name: prod, context: {cluster: prod, user: me, namespace: web}}]
current-context: prod
preferences: {colors: true}
"""


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    for name in ("ca.crt", "admin.crt", "admin.key"):
        (tmp_path / name).write_text(name)
    return tmp_path


def names(path: Path, listing: str = "contexts") -> list[str]:
    return [item["name"] for item in yaml.safe_load(path.read_text())[listing]]


def test_a_context_is_added_and_made_current_beside_what_is_there(pki: Path, tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(THEIRS)
    kubeconfig.add(path, kubeconfig.entry("sampan-a", "https://127.0.0.1:1", pki))
    document = yaml.safe_load(path.read_text())
    assert names(path) == ["prod", "sampan-a"]
    assert document["current-context"] == "sampan-a"
    assert document["preferences"] == {"colors": True}
    assert document["clusters"][0] == {"name": "prod", "cluster": {"server": "https://prod", "extra": 1}}


def test_removing_restores_the_file_as_it_was(pki: Path, tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(THEIRS)
    before = yaml.safe_load(THEIRS)
    for _ in range(2):  # adding twice, as `start` does, makes no difference
        kubeconfig.add(path, kubeconfig.entry("sampan-a", "https://127.0.0.1:1", pki))
    kubeconfig.remove(path, "sampan-a")
    assert yaml.safe_load(path.read_text()) == before


def test_with_two_clusters_the_current_context_falls_back_to_what_still_exists(pki: Path, tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(THEIRS)
    kubeconfig.add(path, kubeconfig.entry("sampan-a", "https://127.0.0.1:1", pki))
    kubeconfig.add(path, kubeconfig.entry("sampan-b", "https://127.0.0.1:2", pki))
    kubeconfig.remove(path, "sampan-a")
    assert names(path) == ["prod", "sampan-b"]
    assert yaml.safe_load(path.read_text())["current-context"] == "sampan-b"
    kubeconfig.remove(path, "sampan-b")
    assert yaml.safe_load(path.read_text())["current-context"] == ""


def test_a_file_that_held_nothing_else_goes_with_its_directory(pki: Path, tmp_path: Path) -> None:
    path = tmp_path / ".kube" / "config"
    kubeconfig.add(path, kubeconfig.entry("sampan-a", "https://127.0.0.1:1", pki))
    assert path.stat().st_mode & 0o777 == 0o600
    kubeconfig.remove(path, "sampan-a")
    assert not path.parent.exists()
    kubeconfig.remove(path, "sampan-a")


@pytest.mark.parametrize("content", ["[1, 2]", "clusters: nonsense", "contexts: [text]", "{unclosed", "\x00"])
def test_a_file_that_is_no_kubeconfig_is_left_alone(pki: Path, tmp_path: Path, content: str) -> None:
    path = tmp_path / "config"
    path.write_text(content)
    with pytest.raises(KubeconfigError, match="left alone"):
        kubeconfig.add(path, kubeconfig.entry("sampan-a", "https://127.0.0.1:1", pki))
    assert path.read_text() == content
    assert sorted(entry.name for entry in tmp_path.iterdir() if entry.name.startswith((".", "config"))) == ["config"]


def test_a_symbolic_link_stays_one_and_the_mode_stays(pki: Path, tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "config"
    real.write_text(THEIRS)
    real.chmod(0o640)
    link.symlink_to(real)
    kubeconfig.add(link, kubeconfig.entry("sampan-a", "https://127.0.0.1:1", pki))
    assert link.is_symlink()
    assert names(real) == ["prod", "sampan-a"]
    assert real.stat().st_mode & 0o777 == 0o640


def _add_many(path: Path, pki: Path, prefix: str) -> None:
    for number in range(10):
        kubeconfig.add(path, kubeconfig.entry(f"{prefix}{number}", "https://127.0.0.1:1", pki))


def test_writers_at_the_same_moment_lose_nothing(pki: Path, tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(THEIRS)
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_add_many, args=(path, pki, prefix)) for prefix in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(names(path)) == 31
    assert not path.with_name("config.lock").exists()


def test_a_lock_that_is_held_is_waited_for_and_then_named(
    pki: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, lock = tmp_path / "config", tmp_path / "config.lock"
    lock.touch()
    monkeypatch.setattr(kubeconfig, "LOCK_WAIT", 0.05)
    with pytest.raises(KubeconfigError, match=str(lock)):
        kubeconfig.add(path, kubeconfig.entry("sampan-a", "https://127.0.0.1:1", pki))
    long_ago = time.time() - 3600
    os.utime(lock, (long_ago, long_ago))
    kubeconfig.add(path, kubeconfig.entry("sampan-a", "https://127.0.0.1:1", pki))
    assert names(path) == ["sampan-a"]


@pytest.mark.parametrize(
    ("environment", "existing", "expected"),
    [
        ({}, [], "home/.kube/config"),
        ({"KUBECONFIG": "{}/a"}, [], "a"),
        ({"KUBECONFIG": "{}/a:{}/b"}, ["a"], "a"),
        ({"KUBECONFIG": "{}/a:{}/b"}, ["b"], "b"),
        ({"KUBECONFIG": "{}/a:{}/b"}, [], "b"),
        ({"KUBECONFIG": ":"}, [], "home/.kube/config"),
    ],
)
def test_the_file_is_the_one_kubectl_would_write(
    environment: dict[str, str],
    existing: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in existing:
        (tmp_path / name).touch()
    filled = {key: value.replace("{}", str(tmp_path)) for key, value in environment.items()}
    assert kubeconfig.user_file(filled) == tmp_path / expected
