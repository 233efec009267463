"""Checkpoints: the last whole line counts, whatever a killed agent left behind it."""

from pathlib import Path

from sampan.api.core_v1 import Pod
from sampan.api.meta_v1 import ObjectMeta
from sampan.node import checkpoints
from sampan.node.checkpoints import Checkpoint, Saved
from sampan.node.records import Record

RUNNING = {"main": Record(container_id="one", running_since=1.5)}
RESTARTED = {"main": Record(container_id="two", running_since=9.0, restart_count=1)}


def test_the_newest_records_are_read_back(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "uid")
    assert checkpoint.load() is None
    checkpoint.save(1.0, RUNNING)
    checkpoint.save(1.0, RESTARTED)
    assert Checkpoint(tmp_path / "uid").load() == Saved(1.0, RESTARTED)


def test_a_line_that_was_cut_short_is_passed_over_and_does_not_spoil_the_next(tmp_path: Path) -> None:
    Checkpoint(tmp_path).save(1.0, RUNNING)
    with (tmp_path / "records.jsonl").open("ab") as file:
        file.write(b'{"start_time":1.0,"records":{"ma')
    successor = Checkpoint(tmp_path)
    assert successor.load() == Saved(1.0, RUNNING)
    successor.save(1.0, RESTARTED)
    assert Checkpoint(tmp_path).load() == Saved(1.0, RESTARTED)


def test_records_that_did_not_change_are_not_written_again(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path)
    checkpoint.save(1.0, RUNNING)
    size = (tmp_path / "records.jsonl").stat().st_size
    checkpoint.save(1.0, RUNNING)
    assert (tmp_path / "records.jsonl").stat().st_size == size


def test_the_file_stays_small_however_often_the_records_change(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path)
    for number in range(3000):
        checkpoint.save(1.0, {"main": Record(container_id="x" * 64, restart_count=number)})
    assert (tmp_path / "records.jsonl").stat().st_size <= checkpoints.MAX_BYTES
    saved = Checkpoint(tmp_path).load()
    assert saved is not None
    assert saved.records["main"].restart_count == 2999


def test_a_pod_is_read_back_and_debris_is_no_pod(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path)
    assert checkpoint.load_pod() is None
    checkpoint.save_pod(Pod(metadata=ObjectMeta(name="web", namespace="default", uid="u")))
    found = checkpoint.load_pod()
    assert found is not None
    assert found.metadata.key == "default/web"
    (tmp_path / "pod.json").write_text("{")
    assert checkpoint.load_pod() is None
