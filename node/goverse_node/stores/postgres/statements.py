"""The SQL statements of this store. Each file is read once."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any


@cache
def query(name: str) -> str:
    """Return the statement in ``queries/{name}.sql``."""
    return (files(__package__ or "") / "queries" / f"{name}.sql").read_text(encoding="utf-8")


@cache
def migrations() -> tuple[tuple[int, str, str], ...]:
    """Return the number, the name and the SQL of every migration, in order."""
    found = [
        (int(entry.name.partition("_")[0]), entry.name.removesuffix(".sql"), entry.read_text(encoding="utf-8"))
        for entry in (files(__package__ or "") / "migrations").iterdir()
        if entry.name.endswith(".sql")
    ]
    return tuple(sorted(found))


async def fetch(statement: str, *rest: Any) -> Any:
    """Run a statement. The arguments come first, the connection last, as ``partial`` passes them."""
    *arguments, connection = rest
    return await connection.fetch(statement, *arguments)
