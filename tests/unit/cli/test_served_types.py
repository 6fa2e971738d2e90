"""Tests of the served object types: access rules from the settings, and warnings at the start."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from goverse import Object, call, handler
from goverse.objects.application import Application, Target
from goverse.objects.registry import Registry
from goverse.settings import load_settings
from goverse_cli.served_types import with_settings


class Report(Object):
    @call(timeout_s=90)
    async def load(self) -> None: ...

    @handler(timeout_s=61.5)
    async def merge(self) -> None: ...

    @call(timeout_s=60)
    async def peek(self) -> None: ...

    @call
    async def plain(self) -> None: ...


@pytest.mark.requirement("OBJ-1")
def test_a_timeout_beyond_the_maximum_of_the_settings_is_said_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    application = Application(Target(__name__, Path(), None, None), Registry([Report]), sys)
    values = load_settings(environ={"GOVERSE_NODE__CALL_TIMEOUT_S_MAX": "60"}).values

    with_settings(application, values)

    said = [record.getMessage() for record in caplog.records]
    assert [line.partition(",")[0] for line in said] == [
        "Report.load declares timeout_s=90",
        "Report.merge declares timeout_s=61.5",
    ]
    assert all("node.call_timeout_s_max=60:" in line for line in said)
