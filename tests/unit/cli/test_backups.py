"""Backups get their names when they are whole, and the oldest go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from goverse_cli.backups import keep
from goverse_cli.failure import Failure

pytestmark = pytest.mark.requirement("OPS-6")

NIGHT = datetime(2026, 11, 21, 2, 17, tzinfo=UTC)


def test_the_newest_are_kept_and_other_kinds_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "etcd-20200101T000000Z").write_text("snapshot")
    for day in range(4):
        (tmp_path / "postgres.partial").write_text(f"dump {day}")
        keep(tmp_path, "postgres", 2, NIGHT + timedelta(days=day))

    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "etcd-20200101T000000Z": "snapshot",
        "postgres-20261123T021700Z": "dump 2",
        "postgres-20261124T021700Z": "dump 3",
    }


@pytest.mark.parametrize("content", [None, ""])
def test_without_a_new_dump_nothing_is_removed(content: str | None, tmp_path: Path) -> None:
    for day in range(3):
        (tmp_path / f"postgres-2026110{day}T021700Z").write_text("dump")
    if content is not None:
        (tmp_path / "postgres.partial").write_text(content)

    with pytest.raises(Failure, match="not there or empty"):
        keep(tmp_path, "postgres", 1, NIGHT)
    assert len(list(tmp_path.glob("postgres-*Z"))) == 3
