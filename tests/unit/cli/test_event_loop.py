"""Tests of the server's event loop: an unexpected end is logged with a traceback."""

import asyncio
import signal
import sys

import pytest

from goverse.errors import Unavailable
from goverse_cli.event_loop import run_server


async def _fail(error: Exception) -> None:
    raise error


def test_an_unexpected_end_is_logged_with_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ZeroDivisionError):
        run_server(_fail(ZeroDivisionError("by zero")))
    (record,) = caplog.records
    assert record.exc_info is not None
    assert "_fail" in caplog.text


def test_an_expected_error_is_reported_by_the_command_only(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Unavailable):
        run_server(_fail(Unavailable("etcd does not answer")))
    assert not caplog.records


async def _leave(code: int) -> None:
    sys.exit(code)


def test_an_exit_of_the_server_itself_ends_it() -> None:
    with pytest.raises(SystemExit) as left:
        run_server(_leave(3))
    assert left.value.code == 3


def test_an_exit_in_another_task_reaches_only_its_waiters() -> None:
    reached: list[object] = []

    async def serve() -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, reached.append, "a signal")
        other = asyncio.create_task(asyncio.sleep(0, "other"))
        reached.extend(await asyncio.gather(_leave(3), _leave(4), return_exceptions=True))
        reached.append(await other)

    run_server(serve())
    assert [getattr(each, "code", each) for each in reached] == [3, 4, "other"]
