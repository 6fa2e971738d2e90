"""The in-memory coordinator for tests and simulations: deterministic, without threads.

All clients share one ``MemoryKeys``; each process has its own ``MemoryCoordinator``. A ``Reach`` between the two lets a
test cut a process off, drop answers or add latency.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import TypeVar

from goverse import limits
from goverse.errors import Unavailable
from goverse.ports.coordinator import Changed, Delete, Granted, Guard, Put, Reloaded, Snapshot
from goverse.ports.memory_keys import MemoryKeys

T = TypeVar("T")


class Reach:
    """The simulated network between one client and the keys; may be changed at any time.

    Attributes:
        requests: True while requests arrive.
        answers: True while answers and watch events arrive. A write whose answer is dropped still takes effect.
        delay_s: one-way latency.
        lag_s: further latency of watch events.
        silent: a lost request or answer is noticed only when the operation timeout has passed.
    """

    def __init__(self) -> None:
        self.requests = True
        self.answers = True
        self.delay_s = 0.0
        self.lag_s = 0.0
        self.silent = False
        self._wakers: list[Callable[[], None]] = []

    def cut(self, *, requests: bool = True, answers: bool = True) -> None:
        """Block both directions, or one of them."""
        self.requests = self.requests and not requests
        self.answers = self.answers and not answers

    def one_way_s(self) -> float:
        """Return the latency of the next message; a simulation draws it."""
        return self.delay_s

    def heal(self) -> None:
        """Restore both directions without latency."""
        self.requests, self.answers, self.delay_s, self.lag_s = True, True, 0.0, 0.0
        self.wake()

    def wake(self) -> None:
        """Let watches continue after a direction was restored."""
        for waker in tuple(self._wakers):
            waker()

    def subscribe(self, waker: Callable[[], None]) -> None:
        """Call ``waker`` when the network is restored."""
        self._wakers.append(waker)

    def unsubscribe(self, waker: Callable[[], None]) -> None:
        """Stop calling ``waker``."""
        self._wakers.remove(waker)


class MemoryCoordinator:
    """One client of the keys.

    Attributes:
        reach: the simulated network of this client.
    """

    def __init__(
        self,
        keys: MemoryKeys,
        *,
        reach: Reach | None = None,
        operation_timeout_s: float = limits.ETCD_OPERATION_TIMEOUT_S,
    ) -> None:
        """Connect to ``keys`` through ``reach``."""
        self.reach = reach or Reach()
        self._keys = keys
        self._history = keys.history
        self._operation_timeout_s = operation_timeout_s
        self._closed = False
        self._travelling: set[asyncio.Task[object]] = set()
        self._wakers: list[Callable[[], None]] = []

    async def read(self, prefix: str) -> Snapshot:
        """Return all keys that begin with ``prefix``.

        Raises:
            Unavailable: no answer.
        """
        snapshot, self._history = await self._ask(lambda: (self._keys.read(prefix), self._keys.history))
        return snapshot

    async def write(self, guards: Sequence[Guard], changes: Sequence[Put | Delete]) -> int | None:
        """Make the changes if every guard holds.

        Raises:
            Unavailable: no answer; it may have been carried out.
            CoordinatorError: the write is not one that a coordinator takes.
        """
        return await self._ask(lambda: self._keys.write(guards, changes))

    async def grant(self, ttl_s: float) -> Granted:
        """Begin a lease.

        Raises:
            Unavailable: no answer.
        """
        return await self._ask(lambda: self._keys.grant(ttl_s))

    async def refresh(self, lease_id: int) -> float | None:
        """Extend a lease.

        Raises:
            Unavailable: no answer.
        """
        history = self._history
        return await self._ask(lambda: self._keys.refresh(lease_id) if history == self._keys.history else None)

    async def revoke(self, lease_id: int) -> None:
        """End a lease.

        Raises:
            Unavailable: no answer.
        """
        await self._ask(lambda: self._keys.revoke(lease_id))

    async def watch(self, prefix: str, after: int) -> AsyncGenerator[Changed | Reloaded]:
        """Yield the changes after revision ``after``."""
        wakeup = asyncio.Event()
        for wakers in (self._keys, self.reach):
            wakers.subscribe(wakeup.set)
        self._wakers.append(wakeup.set)
        seen = self._history
        try:
            while not self._closed:
                wakeup.clear()
                history = self._keys.history
                news = self._news(prefix, after, seen) if self._passes() else None
                if news is None:
                    await wakeup.wait()
                    continue
                await asyncio.sleep(self.reach.one_way_s() + self.reach.lag_s)
                if self._passes():
                    yield news  # a consumer that raises here opens another watch from its old position
                    if isinstance(news, Reloaded):
                        after, seen = news.snapshot.revision, history
                        self._history = history
                    else:
                        after = news.revision
        finally:
            for wakers in (self._keys, self.reach):
                wakers.unsubscribe(wakeup.set)
            self._wakers.remove(wakeup.set)

    def _news(self, prefix: str, after: int, history: int) -> Changed | Reloaded | None:
        if history != self._keys.history:
            return Reloaded(self._keys.read(prefix), new_history=True)
        changed = self._keys.changes(prefix, after)
        if changed is None:
            return Reloaded(self._keys.read(prefix))
        return changed if changed.changes else None

    async def close(self) -> None:
        """Refuse further requests and end all watches."""
        self._closed = True
        for waker in tuple(self._wakers):
            waker()

    def _passes(self) -> bool:
        return not self._closed and self._keys.up and self.reach.requests and self.reach.answers

    async def _ask(self, operation: Callable[[], T]) -> T:
        there_s, back_s = self.reach.one_way_s(), self.reach.one_way_s()
        if not there_s:
            return self._answer(self._arrive(operation))
        # A request that is under way arrives even if its caller has timed out, or its process has been stopped.
        travel = self._travel(operation, there_s, back_s)
        task = asyncio.get_running_loop().create_task(travel, context=self._keys.context)
        self._travelling.add(task)
        task.add_done_callback(self._arrived)
        try:
            async with asyncio.timeout(self._operation_timeout_s):
                return await asyncio.shield(task)
        except TimeoutError as error:
            raise Unavailable("the coordinator did not answer in time") from error

    async def _travel(self, operation: Callable[[], T], there_s: float, back_s: float) -> T:
        await asyncio.sleep(there_s)
        try:
            result = self._arrive(operation)
            await asyncio.sleep(back_s)
            return self._answer(result)
        except Unavailable:
            if self.reach.silent:
                await asyncio.sleep(self._operation_timeout_s)
            raise

    def _arrived(self, task: asyncio.Task[object]) -> None:
        self._travelling.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as retrieved, or asyncio would log it

    def _arrive(self, operation: Callable[[], T]) -> T:
        if self._closed or not self._keys.up or not self.reach.requests:
            raise Unavailable("the coordinator cannot be reached")
        return operation()

    def _answer(self, result: T) -> T:
        if self._closed or not self._keys.up or not self.reach.answers:
            raise Unavailable("the coordinator's answer was lost")
        return result
