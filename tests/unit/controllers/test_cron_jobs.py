"""CronJobs: reading schedules, deciding what is due, clearing up."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.api.batch_v1 import CronJob, Job
from sampan.controllers.cronjobs import schedule
from sampan.controllers.cronjobs.decision import decide, job_of, surplus
from support.objects import made, metadata


def moment(text, zone=UTC):
    return datetime.fromisoformat(text).replace(tzinfo=zone)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("* * * * *", "2026-01-01T00:01"),
        ("*/15 * * * *", "2026-01-01T00:15"),
        ("5-20/5 3 * * *", "2026-01-01T03:05"),
        ("0 0 1 * *", "2026-02-01T00:00"),
        ("30 4 * * mon", "2026-01-05T04:30"),
        ("30 4 * * 7", "2026-01-04T04:30"),
        ("0 12 15 * fri", "2026-01-02T12:00"),
        ("0 0 29 feb *", "2028-02-29T00:00"),
        ("@hourly", "2026-01-01T01:00"),
        ("@yearly", "2027-01-01T00:00"),
    ],
)
def test_a_schedule_tells_its_next_time(line, expected):
    assert schedule.parse(line, UTC).after(moment("2026-01-01T00:00:30")) == moment(expected)


def test_a_schedule_follows_its_time_zone():
    berlin = ZoneInfo("Europe/Berlin")
    assert schedule.parse("0 9 * * *", berlin).after(moment("2026-07-01T00:00")) == moment("2026-07-01T07:00")


@pytest.mark.parametrize("line", ["", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "x * * * *", "*/0 * * * *"])
def test_a_line_that_is_none_is_refused(line):
    with pytest.raises(ValueError):
        schedule.parse(line, UTC)


def test_a_schedule_may_have_no_time_at_all():
    assert schedule.parse("0 0 31 2 *", UTC).after(moment("2026-01-01T00:00")) is None


@given(st.integers(0, 59), st.integers(0, 23), st.datetimes(datetime(2000, 1, 1), datetime(2099, 1, 1)))
def test_the_next_time_is_the_first_later_one_that_fits(minute, hour, start):
    start = start.replace(tzinfo=UTC)
    found = schedule.parse(f"{minute} {hour} * * *", UTC).after(start)
    assert (found.minute, found.hour) == (minute, hour)
    assert timedelta(0) < found - start <= timedelta(days=1)


CREATED = moment("2026-01-01T00:00")
HOURLY = schedule.parse("0 * * * *", UTC)


def cron(*, last=None, **spec):
    status = {"lastScheduleTime": last} if last else {}
    return made(CronJob, metadata=metadata("tick"), spec={"schedule": "0 * * * *", **spec}, status=status)


def job(name, condition=None, started=""):
    status = {"startTime": started or "2026-01-01T00:00:00Z"}
    if condition:
        status["conditions"] = [{"type": condition, "status": "True"}]
    return made(Job, metadata=metadata(name), status=status)


@pytest.mark.parametrize(
    ("found", "active", "now", "at", "reason"),
    [
        (cron(), [], "2026-01-01T00:30", None, None),
        (cron(), [], "2026-01-01T01:00", "2026-01-01T01:00", None),
        (cron(), [], "2026-01-01T05:30", "2026-01-01T05:00", None),
        (cron(last="2026-01-01T05:00:00Z"), [], "2026-01-01T05:30", None, None),
        (cron(suspend=True), [], "2026-01-01T05:30", None, None),
        (cron(concurrencyPolicy="Forbid"), [job("a")], "2026-01-01T01:00", None, "JobAlreadyActive"),
        (cron(concurrencyPolicy="Replace"), [job("a")], "2026-01-01T01:00", "2026-01-01T01:00", None),
        (cron(startingDeadlineSeconds=60), [], "2026-01-01T01:30", None, None),
        (cron(startingDeadlineSeconds=3000), [], "2026-01-01T01:30", "2026-01-01T01:00", None),
        (cron(), [], "2026-01-11T00:10", "2026-01-11T00:00", "TooManyMissedTimes"),
    ],
)
def test_the_latest_missed_time_is_due_once(found, active, now, at, reason):
    due = decide(found, HOURLY, active, moment(now))
    assert due.at == (moment(at) if at else None)
    assert (due.note.reason if due.note else None) == reason
    if found.spec.concurrency_policy == "Replace":
        assert [one.metadata.name for one in due.replace] == ["a"]


def test_a_job_is_named_after_its_time():
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"completions": 1}}
    built = job_of(cron(jobTemplate=template), moment("2026-01-01T01:00"))
    assert built["metadata"]["name"] == f"tick-{int(moment('2026-01-01T01:00').timestamp()) // 60}"
    assert built["metadata"]["annotations"] == {
        "batch.kubernetes.io/cronjob-scheduled-timestamp": "2026-01-01T01:00:00Z"
    }
    assert (built["metadata"]["labels"], built["spec"]) == ({"a": "b"}, {"completions": 1})


def test_finished_jobs_beyond_the_limits_go_oldest_first():
    owned = [job(f"good-{n}", "Complete", f"2026-01-01T0{n}:00:00Z") for n in (3, 1, 2)]
    owned += [
        job("bad-1", "Failed", "2026-01-01T01:00:00Z"),
        job("bad-2", "Failed", "2026-01-01T02:00:00Z"),
        job("runs"),
    ]
    gone = surplus(cron(successfulJobsHistoryLimit=2, failedJobsHistoryLimit=1), owned)
    assert [one.metadata.name for one in gone] == ["good-1", "bad-1"]
