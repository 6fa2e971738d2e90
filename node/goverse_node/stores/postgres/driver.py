"""The driver, asyncpg. It ships no type hints, so it is ``Any``; only this module imports it."""

from __future__ import annotations

from typing import Any

import asyncpg as _asyncpg  # pyright: ignore[reportMissingTypeStubs]

asyncpg: Any = _asyncpg
