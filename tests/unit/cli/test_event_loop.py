"""How a server ends: what nobody foresaw leaves a trace in its log."""

import pytest

from goverse.errors import Unavailable
from goverse_cli.event_loop import run_server


async def _fail(error: Exception) -> None:
    raise error


def test_an_end_that_nobody_foresaw_is_logged_with_its_place(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ZeroDivisionError):
        run_server(_fail(ZeroDivisionError("by zero")))
    (record,) = caplog.records
    assert record.exc_info is not None
    assert "_fail" in caplog.text


def test_an_end_that_explains_itself_is_told_by_the_command(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Unavailable):
        run_server(_fail(Unavailable("etcd does not answer")))
    assert not caplog.records
