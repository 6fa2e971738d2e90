"""Hooks of all tests: each gets its tier (``tests/tiers.py``), and a quick one starts no process.

Hypothesis sets no deadline: on a busy machine an example may be slow without being wrong.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.tiers import EXAMPLES, THOROUGH, ProcessGuard, is_system, of_system_only, selects_quick, tier_of

pytest_plugins = ("tests.shared_servers",)

settings.register_profile("quick", max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("quick"), max_examples=EXAMPLES * THOROUGH)
settings.load_profile("quick")

GUARD = ProcessGuard()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Pass over folders without quick tests if only these are wanted: importing them takes seconds."""
    return True if selects_quick(config) and of_system_only(collection_path) else None


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark the tests of the system tier."""
    if tier_of(item) == "quick" and is_system(item):
        item.add_marker("system")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    """Watch a quick test, its fixtures included."""
    if tier_of(item) == "quick":
        GUARD.begin()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """Fail a quick test that started a process which the guard did not see."""
    try:
        return (yield)
    finally:
        if tier_of(item) == "quick":
            GUARD.end()
