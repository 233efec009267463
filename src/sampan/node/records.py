"""What the agent knows about each container of a pod: the frozen record that planning and status are computed from.

`worker.py` replaces records as things happen; `checkpoints.py` keeps what the runtime cannot tell after a restart of
the agent; `plan.py` and `status.py` read them.
"""

from dataclasses import dataclass, replace
from enum import Enum

from sampan.api.core_v1 import Container, Pod
from sampan.api.pods import is_sidecar
from sampan.node.backoff import NO_BACKOFF, BackOff


class Role(Enum):
    """How a container takes part in the pod's life."""

    INIT = "init"
    SIDECAR = "sidecar"
    MAIN = "main"


@dataclass(frozen=True, slots=True)
class Exit:
    """The end of one run of a container. Times are epoch seconds."""

    code: int
    reason: str
    started_at: float
    finished_at: float
    container_id: str = ""
    signal: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a container does not run, in the API's words."""

    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """One container: its latest run, how the run before ended, and what holds it up.

    `running_since` and `exit` describe the latest run in this sandbox; neither is set before the first one.
    """

    container_id: str = ""
    image: str = ""
    image_id: str = ""
    declared: str = ""
    """The image as the pod's container named it when the run began."""
    restart_count: int = 0
    running_since: float | None = None
    exit: Exit | None = None
    last_exit: Exit | None = None
    waiting: Waiting | None = None
    started: bool = False
    ready: bool = False
    backoff: BackOff = NO_BACKOFF
    not_before: float = 0.0
    """When to try again after the container could not even be created."""

    @property
    def running(self) -> bool:
        return self.running_since is not None

    @property
    def succeeded(self) -> bool:
        return self.exit is not None and self.exit.code == 0

    def begin(self, container_id: str, image: str, image_id: str, now: float, declared: str = "") -> "Record":
        """The record once a new run has started."""
        ran_before = bool(self.container_id)
        return Record(
            container_id=container_id,
            image=image,
            image_id=image_id,
            declared=declared,
            restart_count=self.restart_count + ran_before,
            running_since=now,
            last_exit=self.exit or self.last_exit,
            backoff=self.backoff,
        )

    def begun(self, container: Container) -> "Record":
        """The record once the run's postStart hook is over: without probes, a container is ready as soon as it runs."""
        if self.started:
            return self
        started = container.startup_probe is None
        return replace(self, started=started, ready=started and container.readiness_probe is None)

    def end(self, ended: Exit) -> "Record":
        """The record once the run has ended."""
        return replace(self, running_since=None, exit=ended, waiting=None, started=False, ready=False)

    def is_outdated(self, container: Container) -> bool:
        """Whether the pod names another image now than when the run began: the container must run anew."""
        return bool(self.declared) and self.declared != container.image

    def forget_run(self) -> "Record":
        """The record after the sandbox was lost: its run counts as the previous one, and it must run again."""
        return replace(self, running_since=None, exit=None, last_exit=self.exit or self.last_exit, waiting=None,
                       started=False, ready=False)  # fmt: skip


def role_of(pod: Pod, container: Container) -> Role:
    """Containers of `spec.containers` are MAIN; an init container that restarts always is a SIDECAR."""
    if any(container.name == init.name for init in pod.spec.init_containers):
        return Role.SIDECAR if is_sidecar(container) else Role.INIT
    return Role.MAIN


def restart_policy(pod: Pod, container: Container) -> str:
    """The container's own policy, else the pod's; init containers of `Always` pods are retried on failure only."""
    return container.restart_policy or pod.spec.restart_policy
