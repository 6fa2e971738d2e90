"""Settings of all tests. Hypothesis sets no deadline: on a busy machine an example may be slow without being wrong."""

from hypothesis import HealthCheck, settings

settings.register_profile("goverse", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("goverse")
