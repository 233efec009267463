"""For all tests: no example of a property has a deadline, because no test asserts a time; and guests run beside tests.

A test marked `guest` waits for tests that run in user-mode Linux (support/guests.py). They begin when the session does,
and who waits for them comes last.
"""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from support import guests, uml

settings.register_profile("sampan", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("sampan")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("guest") is not None)


@pytest.fixture(scope="session")
def guest_outcomes(request: pytest.FixtureRequest) -> Iterator[guests.Outcomes]:
    wanted = {item.nodeid: mark for item in request.session.items if (mark := item.get_closest_marker("guest"))}
    outcomes = guests.Outcomes(wanted)
    yield outcomes
    outcomes.close()


@pytest.fixture(scope="session", autouse=True)
def _guests_begin(request: pytest.FixtureRequest) -> None:
    if any(item.get_closest_marker("guest") for item in request.session.items) and not guests.missing():
        request.getfixturevalue("guest_outcomes")


@pytest.fixture
def guest(request: pytest.FixtureRequest) -> uml.Outcome:
    """How this test's guest ended."""
    if why := guests.missing():
        pytest.skip(why)
    outcomes: guests.Outcomes = request.getfixturevalue("guest_outcomes")
    return outcomes.of(request.node.nodeid)
