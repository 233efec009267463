"""For all tests: no example of a property has a deadline, because no test asserts a time."""

from hypothesis import HealthCheck, settings

settings.register_profile("sampan", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("sampan")
