"""Progress reaches whoever waits, ends with its last message, and nobody waiting is no error."""

import os

from sampan.cluster.progress import Down, Late, Progress, Reporter, Step, Up, read


def test_steps_arrive_in_order_and_end_with_the_outcome() -> None:
    reading, writing = os.pipe()
    reporter = Reporter(writing)
    told: list[Progress] = [Step("one"), Step("two", "apiserver"), Up()]
    for progress in told:
        reporter.tell(progress)
    reporter.tell(Down("after the end, unheard"))
    assert list(read(reading, 5.0)) == told


def test_a_supervisor_that_vanishes_is_a_failure() -> None:
    reading, writing = os.pipe()
    os.write(writing, b'{"type":"Step","text":"one"}\n')
    os.close(writing)
    assert list(read(reading, 5.0)) == [Step("one"), Down("the supervisor ended")]


def test_telling_nobody_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    reporter = Reporter(writing)
    reporter.tell(Step("one"))
    reporter.tell(Step("two"))
    reporter.close()


def test_waiting_ends_after_the_time_given() -> None:
    reading, writing = os.pipe()
    Reporter(writing).tell(Step("one"))
    assert list(read(reading, 0.01)) == [Step("one"), Late("not everything works after 0 s")]
    os.close(writing)
