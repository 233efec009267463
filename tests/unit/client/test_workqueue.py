"""The work queue: once each, one worker a key, retried with growing delay."""

import asyncio

import pytest

from sampan.client.workqueue import WorkQueue, run_workers
from sampan.machinery.errors import Conflict


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 20))


async def taken(queue, count):
    return [await asyncio.wait_for(queue.get(), 5) for _ in range(count)]


def test_a_key_added_twice_is_worked_on_once():
    async def check():
        queue = WorkQueue("test")
        for key in ("a", "b", "a"):
            queue.add(key)
        assert await taken(queue, 2) == ["a", "b"]
        assert len(queue) == 0

    run(check())


def test_a_key_added_while_worked_on_comes_again_only_after_done():
    async def check():
        queue = WorkQueue("test")
        queue.add("a")
        await queue.get()
        queue.add("a")
        assert len(queue) == 0
        queue.done("a")
        assert await taken(queue, 1) == ["a"]

    run(check())


def test_the_earliest_of_several_delays_counts():
    async def check():
        queue = WorkQueue("test")
        queue.add_after("a", 3600)
        queue.add_after("a", 0.01)
        queue.add_after("a", 3600)
        assert await taken(queue, 1) == ["a"]
        queue.shutdown()

    run(check())


def test_delays_double_with_each_failure_until_forgotten():
    async def check():
        queue = WorkQueue("test")
        for _ in range(3):
            queue.add_rate_limited("a")
        assert queue.failures("a") == 3
        queue.forget("a")
        assert queue.failures("a") == 0
        queue.shutdown()

    run(check())


@pytest.mark.parametrize("error", [Conflict("x"), OSError("x"), ValueError("x")])
def test_a_failed_key_is_retried_and_others_go_on(error):
    async def check():
        queue = WorkQueue("test")
        tries, finished = [], asyncio.Event()

        async def sync(key):
            tries.append(key)
            if key == "bad" and tries.count("bad") < 3:
                raise error
            if key == "bad":
                finished.set()

        queue.add("bad")
        queue.add("good")
        workers = asyncio.ensure_future(run_workers(queue, sync, 2))
        await asyncio.wait_for(finished.wait(), 10)
        assert tries.count("bad") == 3
        assert tries.count("good") == 1
        workers.cancel()

    run(check())


def test_one_key_is_never_in_two_workers():
    async def check():
        queue = WorkQueue("test")
        inside, most, rounds = 0, 0, 0

        async def sync(key):
            nonlocal inside, most, rounds
            inside += 1
            most = max(most, inside)
            queue.add("a") if rounds < 20 else None
            await asyncio.sleep(0)
            rounds += 1
            inside -= 1

        queue.add("a")
        workers = asyncio.ensure_future(run_workers(queue, sync, 8))
        while rounds < 20:
            await asyncio.sleep(0)
        assert most == 1
        workers.cancel()

    run(check())
