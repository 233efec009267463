"""The schemas of the default release, read once."""

import pytest

from sampan.machinery.schema import Schemas


@pytest.fixture(scope="session")
def schemas() -> Schemas:
    return Schemas.load()
