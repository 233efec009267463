"""Where everything lives on disk: one home, a directory per cluster, images shared by all.

`run/` of a cluster holds what is meaningless once its box has ended; everything else is what `stop` keeps.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DEFAULT_NAME = "default"


def home(environment: Mapping[str, str] = os.environ) -> Path:
    """$SAMPAN_HOME, else $XDG_STATE_HOME/sampan, else ~/.local/state/sampan."""
    if given := environment.get("SAMPAN_HOME"):
        return Path(given).absolute()
    state = environment.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state").absolute() / "sampan"


def images(root: Path) -> Path:
    """The image store that all clusters and nodes share."""
    return root / "images"


@dataclass(frozen=True, slots=True)
class ClusterPaths:
    """The files of one cluster."""

    root: Path
    name: str

    @property
    def directory(self) -> Path:
        return self.root / "clusters" / self.name

    @property
    def config(self) -> Path:
        return self.directory / "config.json"

    @property
    def pki(self) -> Path:
        return self.directory / "pki"

    @property
    def store(self) -> Path:
        return self.directory / "store.sqlite"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's, for this cluster alone."""
        return self.directory / "kubeconfig"

    @property
    def merged(self) -> Path:
        """Holds the path of the user's kubeconfig that has the cluster's context."""
        return self.directory / "kubeconfig-of-user"

    @property
    def published(self) -> Path:
        return self.directory / "published.json"

    @property
    def logs(self) -> Path:
        return self.directory / "logs"

    @property
    def run(self) -> Path:
        return self.directory / "run"

    @property
    def lock(self) -> Path:
        """Locked by the supervisor while the cluster runs; holds its process id."""
        return self.run / "supervisor.pid"

    @property
    def control(self) -> Path:
        """The supervisor's control socket."""
        return self.run / "control.sock"

    @property
    def started(self) -> Path:
        """How many seconds the last start took."""
        return self.run / "start-seconds"

    @property
    def proxy_mode(self) -> Path:
        """Written to make all proxies change their mode."""
        return self.directory / "proxy-mode" / "wanted"

    @property
    def proxy_mode_answers(self) -> Path:
        """Holds a file for each node: what its proxy has answered to that."""
        return self.directory / "proxy-mode" / "answers"

    @property
    def images(self) -> Path:
        return images(self.root)

    def node(self, name: str) -> Path:
        return self.directory / "nodes" / name

    @property
    def cgroup(self) -> str:
        """The cluster's cgroup in every hierarchy; another home may have a cluster of the same name."""
        return f"sampan-{self.name}-{self._number}"

    @property
    def host_link(self) -> str:
        """The network interface that a cluster with `hostNetwork` has on the machine."""
        return f"sampan-{self._number}"

    @property
    def _number(self) -> str:
        return f"{zlib.crc32(os.fsencode(self.directory)):08x}"

    @property
    def context(self) -> str:
        """The cluster's context in the user's kubeconfig."""
        return f"sampan-{self.name}"

    def make(self) -> None:
        """Creates the directories, closed to other users."""
        for directory in (self.directory, self.pki, self.logs, self.run, self.proxy_mode_answers):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.images.mkdir(mode=0o700, exist_ok=True)


def clusters(root: Path) -> list[ClusterPaths]:
    """Every cluster that has state here, running or not."""
    directory = root / "clusters"
    found = sorted(entry.name for entry in directory.iterdir() if entry.is_dir()) if directory.is_dir() else []
    return [ClusterPaths(root, name) for name in found]
