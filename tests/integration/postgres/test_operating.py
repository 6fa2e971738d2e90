"""Operation of a cluster's database: create, migrate, verify and clean it, and the errors of these commands."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from benchmarks.postgres import postgres
from goverse.model.keys import ObjectKey
from goverse.model.records import CommitRecord, StoredReply
from goverse_cli import main
from goverse_node.stores.postgres.options import PostgresOptions
from goverse_node.stores.postgres.provision import provision
from goverse_node.stores.postgres.store import PostgresStore

pytestmark = pytest.mark.requirement("DUR-5")

DAY_MS = 86_400_000

Command = Callable[..., tuple[int, Any]]


@pytest.fixture
def admin() -> Iterator[str]:
    """The administrator's data source name of an empty server."""
    with postgres(Path("/var/tmp")) as (dsn, _):
        yield dsn


def dsn_of(admin: str) -> str:
    return admin.replace("postgres@", "shop@").replace("/postgres", "/shop%20objects")


@pytest.fixture
def run(admin: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run a command with JSON output in this process. Returns its exit code and its output."""

    def run(*arguments: str, **settings: str) -> tuple[int, Any]:
        with monkeypatch.context() as patch:
            for name, text in {"GOVERSE_POSTGRES__DSN": dsn_of(admin), **settings}.items():
                patch.setenv(name, text)
            code = main.run(["-o", "json", *arguments])
        said = capsys.readouterr()
        return code, json.loads(said.out or said.err)

    return run


async def write(admin: str) -> None:
    """Leave two objects with some changes and kept replies behind."""
    store = PostgresStore(PostgresOptions(dsn=dsn_of(admin)), owner="n1")
    await store.open()
    for version in range(3):
        reply = StoredReply(b"f" * 16, b"reply", time.time_ns() // 1_000_000 + DAY_MS)
        await store.commit(
            [
                CommitRecord(
                    ObjectKey("default", "Item", name), version, version + 1, b"{}", 1, 1, f"k{version}", reply
                )
                for name in ("a", "b")
            ]
        )
    await store.close()


async def execute(admin: str, *statements: str) -> None:
    connection = await asyncpg.connect(dsn_of(admin).replace("shop@", "postgres@"))
    for statement in ("SET ROLE shop", *statements):
        await connection.execute(statement)
    await connection.close()


@pytest.mark.parametrize("password", ["pa/ss", "p@ss", "p%zz", "p#w", "p?w=x", "a b"])
def test_the_administrators_password_comes_from_a_file_whatever_is_in_it(
    admin: str, run: Command, tmp_path: Path, password: str
) -> None:
    file = tmp_path / "password"
    file.write_text(f"{password}\n", encoding="utf-8")
    variables = {"GOVERSE_ADMIN_DSN": admin, "GOVERSE_ADMIN_PASSWORD_FILE": str(file)}
    code, told = run("db", "init", **variables)
    assert (code, told["made"][0]) == (0, "role shop")

    code, told = run("db", "init", GOVERSE_ADMIN_DSN=admin.replace("postgres@", f"postgres:{password}@"))
    assert code != 0 or "made" in told, "some are taken as they are"
    assert all(word not in str(told) for word in ("pa'", "'p'", "w=x"))


def test_an_unreadable_password_file_is_reported(admin: str, run: Command, tmp_path: Path) -> None:
    code, told = run("db", "init", "--admin-dsn", admin, "--admin-password-file", str(tmp_path / "none"))
    assert code == 2
    assert "--admin-password-file" in told["detail"]
    assert "cannot be read: No such file or directory" in told["detail"]


def test_a_database_is_created_verified_damaged_and_cleaned(admin: str, run: Command) -> None:
    code, told = run("db", "verify")
    assert code == 2
    assert "does not exist" in told["detail"]

    code, told = run("db", "init", "--admin-dsn", admin, GOVERSE_POSTGRES__PASSWORD="it's 'quoted'")
    assert code == 0
    assert told["made"][:2] == ["role shop", "database shop objects"]
    assert told["made"][2].startswith("schema 0001")
    assert run("db", "init", GOVERSE_ADMIN_DSN=admin) == (0, {"made": []})
    assert all(each["applied"] for each in run("db", "status")[1]["migrations"])

    asyncio.run(write(admin))
    code, told = run("db", "verify")
    assert (code, told["ok"], [one for one in told["checks"] if not one["ok"]]) == (0, True, [])

    today = time.time_ns() // 1_000_000 // DAY_MS
    asyncio.run(
        execute(
            admin,
            f"CREATE TABLE goverse.changes_{today - 30} PARTITION OF goverse.changes "
            f"FOR VALUES FROM ({today - 30}) TO ({today - 29})",
            "INSERT INTO goverse.replies SELECT 1, kind, id, 'old', fingerprint, reply, 5, commit_seq "
            "FROM goverse.replies LIMIT 1",
        )
    )
    code, told = run("db", "cleanup", "--dry-run")
    assert (code, list(told["days"]), told["replies"]) == (0, [f"changes_{today - 30}"], 1)
    assert run("db", "cleanup", "--no-input")[0] == 2
    assert run("db", "cleanup", "--yes")[1] == {**told, "dry_run": False}
    assert run("db", "cleanup", "--yes")[1] == {"dry_run": False, "days": {}, "replies": 0, "calls": 0, "changes": 0}
    assert run("db", "verify")[0] == 0

    asyncio.run(
        execute(
            admin,
            "UPDATE goverse.objects SET version = 9 WHERE id = 'a'",
            "UPDATE goverse.changes SET kind = kind[1:1], id = id[1:1], version = version[1:1], state = state[1:1], "
            "at_ms = at_ms[1:1], ordinal = ordinal[1:1] WHERE id[2] = 'b' AND version[2] = 2",
            "UPDATE goverse.replies SET reply = '' WHERE id = 'b' AND idempotency_key = 'k1'",
        )
    )
    code, told = run("db", "verify")
    wrong = {one["check"]: one["wrong"] for one in told["checks"] if not one["ok"]}
    assert code == 1
    assert wrong["objects_and_feed"] == ["default/Item/a is at version 9, and the newest change of it made version 3"]
    assert wrong["feed_holes"] == ["default/Item/b: version 3 follows 1"]
    assert len(wrong["replies"]) == 1
    assert "stop the nodes" in told["hint"]


@pytest.mark.requirement("OPS-2")
def test_what_starts_after_the_migration_waits_for_the_schema(admin: str, run: Command) -> None:
    code, told = run("db", "status", "--wait", "0.1")
    assert code == 3
    assert "does not exist" in told["detail"]

    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(lambda: asyncio.run(provision(PostgresOptions(dsn=dsn_of(admin)), admin)))
        code, told = run("db", "status", "--wait", "60")
        assert made.result(60)
    assert code == 0
    assert all(each["applied"] for each in told["migrations"])


def test_a_database_that_cannot_be_made_says_what_to_do(admin: str, run: Command) -> None:
    asyncio.run(make_roles(admin))
    weak = admin.replace("postgres@", "weak@")
    code, told = run("db", "init", "--admin-dsn", weak)
    assert code == 2
    assert "CREATEROLE and CREATEDB" in told["detail"]
    able = admin.replace("postgres@", "able@")
    assert run("db", "init", "--admin-dsn", able)[0] == 0
    code, told = run("db", "init", "--admin-dsn", admin, GOVERSE_POSTGRES__DSN="postgresql://h/x")
    assert (code, told["setting"]) == (2, "postgres.dsn")
    gone = "postgresql://postgres@127.0.0.1:1/postgres"
    code, told = run("db", "init", "--admin-dsn", gone)
    assert code == 3
    assert told["detail"].startswith("--admin-dsn: PostgreSQL is unavailable")


async def make_roles(admin: str) -> None:
    connection = await asyncpg.connect(admin)
    await connection.execute("CREATE ROLE weak LOGIN")
    await connection.execute("CREATE ROLE able LOGIN CREATEROLE CREATEDB")
    await connection.close()
