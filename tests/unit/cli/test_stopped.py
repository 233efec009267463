"""What commands say about a cluster that has state but does not run."""

import os
from pathlib import Path

import msgspec
import pytest

from sampan.cli.main import main
from sampan.cluster import launch
from sampan.cluster.config import build
from sampan.cluster.launch import AlreadyRunning
from sampan.cluster.paths import ClusterPaths


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClusterPaths:
    """The state of a stopped cluster called `dev`."""
    monkeypatch.setenv("SAMPAN_HOME", str(tmp_path))
    made = ClusterPaths(tmp_path, "dev")
    made.make()
    made.config.write_bytes(msgspec.json.encode(build({"name": "dev", "nodes": 2, "apiPort": 7443})))
    return made


@pytest.mark.parametrize("command", ["stop", "shell", "publish"])
def test_commands_that_need_it_running_say_how_to_resume_it(
    command: str, cluster: ClusterPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--name", "dev"]) == 1
    assert "sampan start --name dev" in capsys.readouterr().err


def test_up_refuses_to_overwrite_it(cluster: ClusterPaths, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["up", "--name", "dev"]) == 1
    printed = capsys.readouterr().err
    assert "sampan start --name dev" in printed
    assert "sampan down --name dev" in printed
    assert cluster.config.exists()


def test_status_tells_that_it_is_stopped_with_a_status_of_its_own(
    cluster: ClusterPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status"]) == 3
    assert "stopped; resume it with: sampan start --name dev" in capsys.readouterr().out


def test_logs_lists_components_and_shows_the_end_of_one(
    cluster: ClusterPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    (cluster.logs / "apiserver.log").write_text("one\ntwo\nthree\n")
    assert main(["logs", "--name", "dev"]) == 0
    assert capsys.readouterr().out == "apiserver\n"
    assert main(["logs", "--name", "dev", "--tail", "2", "apiserver"]) == 0
    assert capsys.readouterr().out == "two\nthree\n"
    assert main(["logs", "--name", "dev", "etcd"]) == 1
    assert "there are: apiserver" in capsys.readouterr().err


def test_the_lock_tells_who_runs_and_keeps_others_out(cluster: ClusterPaths) -> None:
    assert not launch.is_running(cluster)
    lock = launch.take_lock(cluster)
    assert launch.is_running(cluster)
    with pytest.raises(AlreadyRunning):
        launch.take_lock(cluster)
    assert not launch.wait_stopped(cluster, 0.01)
    os.close(lock)
    assert launch.wait_stopped(cluster, 0.01)
    assert launch.supervisor_pid(cluster) == 0
