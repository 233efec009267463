"""State lives where XDG says, apart for each home, and closed to others."""

from pathlib import Path

import pytest

from sampan.cluster import paths
from sampan.cluster.paths import ClusterPaths


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"SAMPAN_HOME": "/srv/s", "XDG_STATE_HOME": "/x"}, "/srv/s"),
        ({"XDG_STATE_HOME": "/x"}, "/x/sampan"),
        ({}, "/home/me/.local/state/sampan"),
    ],
)
def test_the_home_follows_the_environment(
    environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert paths.home(environment) == Path(expected)


def test_directories_are_for_their_owner_only(tmp_path: Path) -> None:
    cluster = ClusterPaths(tmp_path / "home", "dev")
    cluster.make()
    cluster.make()
    for directory in (cluster.directory, cluster.pki, cluster.run, cluster.logs):
        assert directory.stat().st_mode & 0o777 == 0o700
    assert [other.name for other in paths.clusters(tmp_path / "home")] == ["dev"]
    assert paths.clusters(tmp_path / "nowhere") == []


def test_control_groups_of_equal_names_in_two_homes_differ() -> None:
    groups = {ClusterPaths(Path(home), "dev").cgroup for home in ("/a", "/b")}
    assert len(groups) == 2
    assert all(group.startswith("sampan-dev-") for group in groups)
