"""Bugs in the fence, the commit and the log of the stores."""

from __future__ import annotations

from typing import Any, Final

import pytest

from goverse_node.stores import running_time
from goverse_node.stores.postgres import connections, schema, session
from goverse_node.stores.postgres.statements import migrations
from goverse_node.stores.postgres.vigil import Vigil
from goverse_node.stores.postgres.writer import Carried, Writer
from goverse_node.stores.wal import log_writer
from goverse_node.stores.wal.files import RealHandle
from goverse_node.stores.wal.segment import RECORDS_AT, encode_mark
from tests.planted import Planted

_SESSIONS: Final = "tests/integration/postgres/test_sessions.py::"
_LOST: Final = "tests/integration/postgres/test_lost_history.py::"
_OUTAGES: Final = "tests/integration/postgres/test_outages.py::"
_RECOVERY: Final = "tests/integration/stores/test_recovery.py::"
_NOT_FENCED: Final = "isinstance(outcome, Conflict)"


def _change_schema(monkeypatch: pytest.MonkeyPatch, old: str, new: str) -> None:
    """Create databases with other functions."""
    assert all(old in sql for _, _, sql in migrations()[:1]), old
    changed = tuple((number, name, sql.replace(old, new)) for number, name, sql in migrations())
    monkeypatch.setattr(schema, "migrations", lambda: changed)


def _compare_epochs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    _change_schema(monkeypatch, " OR present.owner <> p_owner", "")


def _leave_the_isolation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(session.SESSION, "default_transaction_isolation")


def _reset_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    async def reset(connection: Any) -> None:
        await connection.execute("RESET ALL")

    monkeypatch.setattr(connections, "_keep_settings", reset)


def _leave_the_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(session.SESSION, "client_min_messages")


def _say_that_it_was_carried_out(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Writer._resolve

    async def resolve(self: Writer, connection: Any) -> Carried:
        await original(self, connection)
        return Carried(1, {})

    monkeypatch.setattr(Writer, "_resolve", resolve)


def _never_look(monkeypatch: pytest.MonkeyPatch) -> None:
    async def look(self: Vigil, writer: Writer) -> bool:
        del self, writer
        return False

    monkeypatch.setattr(Vigil, "look", look)


def _acknowledge_before_the_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RealHandle, "write_durably", RealHandle.write_at)


def _write_no_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_writer, "encode_mark", lambda counter, _end, _seq: encode_mark(counter, RECORDS_AT, 0))


def _expire_by_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running_time.RunningTime, "now_ms", lambda self: self._monotonic.__self__.wall_ms())


PLANTED: Final = (
    Planted(
        "fence-ignores-the-owner",
        _compare_epochs_alone,
        f"{_LOST}test_an_epoch_given_twice_lets_only_its_owner_write",
        _NOT_FENCED,
    ),
    Planted(
        "isolation-is-what-the-role-has",
        _leave_the_isolation,
        f"{_SESSIONS}test_the_fence_holds_whatever_isolation_the_role_has[repeatable read]",
        _NOT_FENCED,
    ),
    Planted(
        "pool-resets-its-sessions",
        _reset_sessions,
        f"{_SESSIONS}test_a_hostile_default_of_a_role_or_database_has_no_effect[ROLE postgres]",
        "assert {name: rows[name]",
    ),
    Planted(
        "warning-of-the-standby-is-filtered",
        _leave_the_messages,
        f"{_SESSIONS}test_a_commit_waits_for_the_standby_whatever_the_role_says[off]",
        "acknowledged, though no standby has it",
    ),
    Planted(
        "resolve-says-that-a-lost-batch-was-carried-out",
        _say_that_it_was_carried_out,
        f"{_OUTAGES}test_a_commit_that_waits_for_a_lock_longer_than_a_statement_may_take_is_tried_again",
        "assert",
    ),
    Planted(
        "restored-database-is-not-noticed",
        _never_look,
        f"{_LOST}test_a_claim_that_the_database_lost_is_noticed",
        "the condition did not come true in time",
    ),
    Planted(
        "log-is-acknowledged-before-its-sync",
        _acknowledge_before_the_sync,
        f"{_RECOVERY}test_a_batch_is_acknowledged_after_the_kernel_said_that_the_disk_has_it",
        "acknowledged before the disk has it",
    ),
    Planted(
        "log-has-no-mark",
        _write_no_mark,
        f"{_RECOVERY}test_a_tail_cut_below_the_mark_is_refused_at_any_byte",
        "DID NOT RAISE",
    ),
    Planted(
        "replies-expire-by-the-wall-clock",
        _expire_by_the_wall_clock,
        "tests/integration/stores/test_running_time.py::test_a_step_of_the_wall_clock_forgets_no_key[memory-90000000]",
        "is not None",
    ),
)
