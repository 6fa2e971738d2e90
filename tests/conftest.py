"""What holds for all tests: a machine that is busy besides makes examples slow, and never wrong."""

from hypothesis import HealthCheck, settings

settings.register_profile("goverse", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("goverse")
