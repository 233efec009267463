"""The box's first process starts components in order, tells what becomes of them, and starts them again."""

import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sampan.cluster.components import Component, Context
from sampan.cluster.config import build
from sampan.cluster.init import Init
from sampan.cluster.messages import Channel, Exited, Message, Note, Ready, Started
from sampan.cluster.paths import ClusterPaths

SECONDS = 20.0


class Box:
    """An Init in a process of its own, without namespaces; what it tells is kept in `told`."""

    def __init__(self, directory: Path, components: list[Component]) -> None:
        paths = ClusterPaths(directory, "dev")
        paths.make()
        self.logs = paths.logs
        self.told: list[Message] = []
        self.channel, inner = Channel.pair()
        self.pid = os.fork()
        if self.pid == 0:
            os.setpgid(0, 0)
            self.channel.close()
            Init(components, Context(build({}), paths), inner).run()
        inner.close()

    def wait(self, holds: Callable[[list[Message]], bool]) -> list[Message]:
        """Everything told so far, once it is enough."""
        deadline = time.monotonic() + SECONDS
        while not holds(self.told):
            left = deadline - time.monotonic()
            assert select.select([self.channel], [], [], max(left, 0))[0], f"told only: {self.told}"
            self.told.append(self.channel.receive()[0])
        return self.told

    def started(self, name: str) -> list[int]:
        return [one.pid for one in self.told if isinstance(one, Started) and one.component == name]

    def end(self) -> None:
        """As the supervisor does when it dies; init leaves its children to the kernel."""
        self.channel.close()
        os.waitpid(self.pid, 0)
        for one in self.told:
            if isinstance(one, Started):
                _kill(one.pid)


def _kill(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Callable[..., Box]]:
    made: list[Box] = []

    def make(*components: Component) -> Box:
        made.append(Box(tmp_path, list(components)))
        return made[-1]

    yield make
    for one in made:
        one.end()


def component(name: str, function: str, *after: str, once: bool = False, options: object = None) -> Component:
    return Component(name=name, run=f"support.components:{function}", options=lambda _: options, after=after, once=once)


def test_components_start_when_those_before_them_are_ready(box: Callable[..., Box]) -> None:
    running = box(component("c", "steady", "a", "b"), component("b", "steady", "a"), component("a", "steady"))
    told = running.wait(lambda told: Ready("c") in told)
    order = [(type(one).__name__, one.component) for one in told if isinstance(one, Started | Ready)]
    assert order == [
        ("Started", "a"),
        ("Ready", "a"),
        ("Started", "b"),
        ("Ready", "b"),
        ("Started", "c"),
        ("Ready", "c"),
    ]


def test_what_a_component_says_before_it_ends_is_told(box: Callable[..., Box]) -> None:
    running = box(component("a", "telling", once=True))
    told = running.wait(lambda told: any(isinstance(one, Exited) for one in told))
    notes = [one.text for one in told if isinstance(one, Note)]
    assert notes[0] == "one line"
    assert notes[-1] == "last words"
    assert Ready("a") in told
    assert told[-1] == Exited("a", 0, None)


def test_a_component_that_ends_starts_again_ever_later(box: Callable[..., Box]) -> None:
    running = box(component("a", "failing"))
    told = running.wait(lambda told: sum(isinstance(one, Exited) for one in told) == 3)
    exits = [one for one in told if isinstance(one, Exited)]
    assert [one.status for one in exits] == [1, 1, 1]
    assert [one.retry for one in exits] == [0.1, 0.2, 0.4]
    assert len(running.started("a")) == 3
    assert "as it must be" in (running.logs / "a.log").read_text()


def test_many_that_end_at_once_are_all_told_and_started_again(box: Callable[..., Box], tmp_path: Path) -> None:
    names = [f"c{number}" for number in range(8)]
    running = box(*(component(name, "short_lived", options=tmp_path / name) for name in names))
    told = running.wait(lambda told: sum(isinstance(one, Ready) for one in told) == 4 * len(names))
    assert sum(isinstance(one, Exited) for one in told) == 3 * len(names)
    assert {one.status for one in told if isinstance(one, Exited)} == {-signal.SIGKILL}


def test_an_orphan_that_keeps_the_report_open_does_not_hide_the_end(box: Callable[..., Box]) -> None:
    running = box(component("a", "forking"))
    told = running.wait(lambda told: any(isinstance(one, Exited) for one in told))
    assert Exited("a", 3, 0.1) in told


def test_a_component_that_waits_for_one_that_never_gets_ready_is_not_started(box: Callable[..., Box]) -> None:
    running = box(component("a", "failing"), component("b", "steady", "a"))
    running.wait(lambda told: sum(isinstance(one, Exited) for one in told) == 2)
    assert running.started("b") == []
