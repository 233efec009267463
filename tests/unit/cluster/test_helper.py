"""Work beside other work: done elsewhere, awaited here, and its failure is not missed."""

import os
from pathlib import Path

import pytest

from sampan.cluster.helper import Helper, HelperFailed


def test_the_work_is_done_by_another_process_by_the_time_it_was_waited_for(tmp_path: Path) -> None:
    result = tmp_path / "result"
    helper = Helper("writing", lambda: result.write_text(str(os.getpid())) and None)
    helper.wait()
    assert int(result.read_text()) != os.getpid()


def fail() -> None:
    raise OSError("no space")


def leave() -> None:
    raise SystemExit(0)


@pytest.mark.parametrize("work", [fail, leave, lambda: os.kill(os.getpid(), 9)], ids=["error", "exit", "killed"])
def test_work_that_was_not_done_is_an_error(work: object) -> None:
    helper = Helper("certificates", work)  # type: ignore[arg-type]
    with pytest.raises(HelperFailed, match="certificates failed with status"):
        helper.wait()
