"""Batched lookups in the database: all keys that are requested in one turn of the event loop go out as one query.

While the database is unavailable, a failed batch is retried with exponential backoff, together with the keys that were
requested in the meantime. A key is dropped when it has its value, when no caller waits for it any more, or when it has
timed out.
"""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from goverse.errors import Unavailable
from goverse.limits import CALL_TIMEOUT_S_MAX

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

BATCH_MAX: Final = 256
RETRY_S: Final = 0.05
RETRY_S_MAX: Final = 1.0
TIMEOUT_S: Final = CALL_TIMEOUT_S_MAX  # no call waits longer than this for a value


class _Pending(NamedTuple, Generic[Value]):
    """The futures that wait for the value of one key, and the loop time after which it is not retried."""

    deadline: float
    futures: list[Future[Value]]


class Lookups(Generic[Key, Value]):
    """Collects keys and fetches their values in batches. Equal keys of one batch are fetched once.

    ``fetch`` returns the values in the order of the keys. If it raises ``Unavailable``, the batch is retried. Any other
    error becomes the result of all keys in the batch.
    """

    def __init__(
        self, fetch: Callable[[Sequence[Key]], Awaitable[Sequence[Value]]], *, timeout_s: float = TIMEOUT_S
    ) -> None:
        """Create lookups through ``fetch``. A key is not retried after ``timeout_s``."""
        self._fetch = fetch
        self._timeout_s = timeout_s
        self._pause_s = 0.0
        self._waiting: dict[Key, _Pending[Value]] = {}
        self._timer: asyncio.Handle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, key: Key) -> Future[Value]:
        """Request the value of ``key``, together with the other keys of this turn of the event loop."""
        loop = asyncio.get_running_loop()
        value: Future[Value] = loop.create_future()
        pending = self._waiting.get(key)
        if pending is None:
            self._waiting[key] = _Pending(loop.time() + self._timeout_s, [value])
        else:
            pending.futures.append(value)
        self._arm()
        return value

    def _arm(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._pause_s, self._send) if self._pause_s else loop.call_soon(self._send)

    def _send(self) -> None:
        self._timer = None
        waiting, self._waiting = self._waiting, {}
        keys = [key for key, pending in waiting.items() if not all(future.done() for future in pending.futures)]
        for start in range(0, len(keys), BATCH_MAX):
            batch = {key: waiting[key] for key in keys[start : start + BATCH_MAX]}
            task = asyncio.get_running_loop().create_task(self._fetch_batch(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _fetch_batch(self, batch: dict[Key, _Pending[Value]]) -> None:
        try:
            values = await self._fetch(list(batch))
        except Unavailable as error:
            self._retry(batch, error)
        except Exception as error:
            for pending in batch.values():
                _fail(pending, error)
        except BaseException:
            for pending in batch.values():
                for future in pending.futures:
                    future.cancel()
            raise
        else:
            self._pause_s = 0.0
            for pending, value in zip(batch.values(), values, strict=True):
                for future in pending.futures:
                    if not future.done():
                        future.set_result(value)

    def _retry(self, batch: dict[Key, _Pending[Value]], error: Unavailable) -> None:
        now = asyncio.get_running_loop().time()
        if self._timer is None:  # of several batches that fail together, only the first one doubles the pause
            self._pause_s = min(2 * self._pause_s or RETRY_S, RETRY_S_MAX)
        for key, pending in batch.items():
            pending.futures[:] = [future for future in pending.futures if not future.done()]
            if not pending.futures:
                continue  # the calls that waited for it have ended
            if now >= pending.deadline:
                _fail(pending, error)
                continue
            later = self._waiting.get(key)
            merged = pending if later is None else _Pending(pending.deadline, pending.futures + later.futures)
            self._waiting[key] = merged
        if self._waiting:
            self._arm()

    async def stop(self) -> None:
        """Cancel all lookups."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for pending in self._waiting.values():
            for future in pending.futures:
                future.cancel()
        self._waiting.clear()
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


def _fail(pending: _Pending[Value], error: Exception) -> None:
    for future in pending.futures:
        if not future.done():
            future.set_exception(error)
