"""Repeated events are counted on one object."""

import asyncio
from typing import Any

from sampan.api.core_v1 import Pod
from sampan.api.meta_v1 import ObjectMeta
from sampan.client.events import EventRecorder
from sampan.machinery.objects import Object


class FakeClient:
    """Keeps the events that are created, with the patches that follow."""

    def __init__(self) -> None:
        self.events: dict[str, Object] = {}

    async def create(self, _resource: Any, obj: Object, _namespace: str) -> Object:
        self.events[obj["metadata"]["name"]] = obj
        return obj

    async def patch(self, _resource: Any, name: str, patch: Object, _namespace: str) -> Object:
        self.events[name] |= patch
        return self.events[name]


def _pod(version: str, name: str = "web", uid: str = "u") -> Pod:
    return Pod(metadata=ObjectMeta(name=name, namespace="default", uid=uid, resource_version=version))


def test_the_same_event_about_a_newer_version_of_an_object_raises_its_count():
    """As client-go's key has it: object, type, reason and message, never the object's version."""

    async def run() -> list[tuple[str, str, int]]:
        client = FakeClient()
        recorder = EventRecorder(client, "kubelet", "node-1")  # type: ignore[arg-type]
        for version in ("1", "2", "3", "4"):
            recorder.event(_pod(version), "Warning", "BackOff", "Back-off restarting")
            await recorder.flush()
        recorder.event(_pod("4"), "Warning", "BackOff", "another message")
        recorder.event(_pod("4", uid="next"), "Warning", "BackOff", "Back-off restarting")
        recorder.event(_pod("4"), "Warning", "BackOff", "Back-off restarting", field_path="spec.containers{a}")
        await recorder.flush()
        assert [one["involvedObject"]["resourceVersion"] for one in client.events.values()] == ["1", "4", "4", "4"]
        return [(one["involvedObject"]["uid"], one["message"], one["count"]) for one in client.events.values()]

    assert asyncio.run(run()) == [
        ("u", "Back-off restarting", 4),
        ("u", "another message", 1),
        ("next", "Back-off restarting", 1),
        ("u", "Back-off restarting", 1),
    ]
