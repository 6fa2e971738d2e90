"""The hand-written alternative: FastAPI and an asyncpg upsert, 16 connections, PostgreSQL with default settings."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from fastapi import FastAPI
from pydantic import BaseModel

UPSERT = """
INSERT INTO counter (id, value) VALUES ($1, $2)
ON CONFLICT (id) DO UPDATE SET value = counter.value + excluded.value
RETURNING value
"""


class Increment(BaseModel):
    """The body of a call."""

    by: int = 1


@asynccontextmanager
async def _pool(application: FastAPI) -> AsyncIterator[None]:
    async with asyncpg.create_pool(os.environ["BENCHMARK_DSN"], min_size=16, max_size=16) as pool:
        await pool.execute("CREATE TABLE IF NOT EXISTS counter (id text PRIMARY KEY, value bigint NOT NULL)")
        application.state.pool = pool
        yield


app = FastAPI(lifespan=_pool)


@app.post("/objects/Counter/{counter_id}/call/increment")
async def increment(counter_id: str, body: Increment) -> int:
    """Add to a counter."""
    value: int = await app.state.pool.fetchval(UPSERT, counter_id, body.by)
    return value
