"""Whose turn it is to be scheduled."""

import asyncio

from sampan.scheduler.queue import SchedulingQueue
from support.objects import pod


def names(*pods, tried=()):
    """The order in which a queue gives these pods out, after some were tried in vain."""

    async def play():
        queue = SchedulingQueue()
        for one in tried:
            queue.add(one)
            await queue.pop()
        for one in pods:
            queue.add(one)
        if tried:
            queue.retry()
        count = len({one.metadata.uid for one in (*pods, *tried)})
        return [(await queue.pop()).metadata.name for _ in range(count)]

    return asyncio.run(asyncio.wait_for(play(), 10))


def test_higher_priority_goes_first_then_age():
    assert names(pod("a"), pod("b", priority=5), pod("c")) == ["b", "a", "c"]


def test_pods_tried_in_vain_come_after_those_not_tried():
    assert names(pod("new"), tried=[pod("old", priority=100)]) == ["new", "old"]


def test_a_pod_waits_until_something_changes():
    async def play():
        queue = SchedulingQueue()
        queue.add(pod("a"))
        await queue.pop()
        waiting = asyncio.ensure_future(queue.pop())
        await asyncio.sleep(0)
        assert not waiting.done()
        queue.retry()
        return (await waiting).metadata.name

    assert asyncio.run(asyncio.wait_for(play(), 10)) == "a"


def test_a_removed_pod_is_not_given_out():
    async def play():
        queue = SchedulingQueue()
        for name in ("a", "b"):
            queue.add(pod(name))
        queue.remove("uid-a")
        return (await queue.pop()).metadata.name, len(queue)

    assert asyncio.run(asyncio.wait_for(play(), 10)) == ("b", 1)


def test_the_latest_version_of_a_pod_is_given_out():
    async def play():
        queue = SchedulingQueue()
        queue.add(pod("a"))
        queue.refresh(pod("a", labels={"new": "yes"}))
        return (await queue.pop()).metadata.labels

    assert asyncio.run(asyncio.wait_for(play(), 10)) == {"new": "yes"}
