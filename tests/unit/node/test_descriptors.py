"""Descriptors have one owner and close once; threads are waited for by those who wanted their work."""

import asyncio
import os
import re
import threading
import time
from pathlib import Path

import pytest
import uvloop

import sampan
from sampan.kernel import descriptors, inotify, processes
from sampan.kernel.descriptors import Descriptor
from sampan.kernel.threads import in_thread

LOOPS = (asyncio.new_event_loop, uvloop.new_event_loop)


def test_only_descriptors_close_descriptors():
    """In kernel/ and node/ nothing closes, wraps or hands to a loop a number that something else owns."""
    root = Path(sampan.__file__).parent
    forbidden = re.compile(r"os\.close\(|os\.fdopen\(|os\.dup|connect_(read|write)_pipe|os\.pidfd_open|os\.pipe")
    found = [
        f"{path.relative_to(root)}: {line.strip()}"
        for folder in ("kernel", "node")
        for path in (root / folder).rglob("*.py")
        for line in path.read_text().splitlines()
        if forbidden.search(line) and path.name != "descriptors.py"
    ]
    assert not found


def test_closing_twice_leaves_the_next_owner_of_the_number_alone():
    first, other = descriptors.pipe()
    number = first.fileno()
    first.close()
    with Descriptor.open("/dev/null", os.O_RDONLY) as second:
        assert second.fileno() == number
        first.close()
        del first
        os.fstat(number)
    other.close()
    with pytest.raises(ValueError, match="closed"):
        other.fileno()


@pytest.mark.parametrize("new_loop", LOOPS, ids=("asyncio", "uvloop"))
def test_reading_from_pipes_and_waiting_for_processes_never_closes_what_threads_have_open(new_loop):
    """What every start of a container does, thousands of times, beside threads that open and close."""
    over, accidents = threading.Event(), []

    def other_work() -> None:
        while not over.is_set():
            try:
                number = os.open("/dev/null", os.O_RDONLY)
                os.fstat(number)
                os.fstat(number)
                os.close(number)
            except OSError as error:
                accidents.append(error)

    async def start() -> None:
        reading, writing = descriptors.pipe()
        with reading:
            with writing:
                os.write(writing.fileno(), b'{"pid":1}\n')
            assert await reading.read_line() == b'{"pid":1}'

    async def work() -> None:
        for number in range(1500):
            await start()
            if not number % 100:
                waiting = asyncio.create_task(processes.gone(os.getpid()))
                await asyncio.sleep(0)
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)

    threads = [threading.Thread(target=other_work) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(work())
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert accidents == []


@pytest.mark.parametrize("new_loop", LOOPS, ids=("asyncio", "uvloop"))
def test_a_watch_that_is_closed_while_it_is_waited_for_unhooks_nobody_else(new_loop, tmp_path: Path):
    """The next owner of the number goes on being told, also once the generator is finalized."""

    async def work() -> None:
        watch = inotify.Watch(tmp_path)
        names = watch.names()
        waiting = asyncio.ensure_future(anext(names))
        await asyncio.sleep(0.01)
        number = watch._queue.fileno()
        waiting.cancel()
        watch.close()
        reading, writing = descriptors.pipe()
        assert number in (reading.fileno(), writing.fileno())
        reader = asyncio.ensure_future(reading.read_line())
        await asyncio.gather(waiting, return_exceptions=True)
        await names.aclose()
        os.write(writing.fileno(), b"told\n")
        async with asyncio.timeout(5):
            assert await reader == b"told"
        reading.close()
        writing.close()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(work())


def test_a_cancelled_caller_waits_for_its_thread():
    async def work() -> None:
        done = []

        def slow() -> None:
            time.sleep(0.2)
            done.append(True)

        task = asyncio.create_task(in_thread(slow))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done

    asyncio.run(work())


def test_a_watch_says_when_the_kernel_dropped_names(tmp_path: Path):
    async def work() -> None:
        watch = inotify.Watch(tmp_path)
        names = watch.names()
        waiting = asyncio.ensure_future(anext(names))
        await asyncio.sleep(0)
        limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
        for number in range(limit + 10):
            (tmp_path / f"{number % 50}").write_text("")
        found = {await waiting}
        async with asyncio.timeout(10):
            while inotify.OVERFLOW not in found:
                found.add(await anext(names))
        watch.close()

    asyncio.run(work())
