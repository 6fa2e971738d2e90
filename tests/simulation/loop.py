"""An event loop on a virtual clock, shared by all processes of a simulation.

Rules:

1. Time stands still while anything is ready, and then jumps to the next timer. The loop never blocks, and has no
   threads and no sockets.
2. Whatever a process schedules runs in a context of that process (``PROCESS``). A stopped process gets no steps: its
   callbacks are kept in order, like the work of a process after SIGSTOP. A crashed process is one that never continues.
3. Callbacks run in the order in which they became ready; timers of one instant in the order in which they were set. One
   seed therefore gives one order of events.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from itertools import count
from typing import Any, Final, TypeVarTuple, Unpack

_Ts = TypeVarTuple("_Ts")

STEPS_PER_INSTANT_MAX: Final = 1_000_000


class Deadlock(Exception):
    """Nothing is ready and no timer is set, but the main coroutine has not ended."""


class Process:
    """A process: the tasks and callbacks that stop together.

    Attributes:
        name: its name in the network, shared with its earlier and later lives.
        context: the context in which its code runs.
        stopped: True while it gets no steps.
        crashed: True once it has been killed; it never continues.
        host_down: True if the machine died with it, so that peers are not told.
    """

    def __init__(self, loop: VirtualLoop, name: str, *, rate: float = 1.0, offset_s: float = 0.0) -> None:
        """Create a process whose boot clock runs at ``rate``, beginning ``offset_s`` ahead of the loop's time."""
        self.loop = loop
        self.name = name
        self.stopped = self.crashed = self.host_down = False
        self.held: deque[asyncio.Handle] = deque()
        self.context = copy_context()
        self.context.run(PROCESS.set, self)
        self._rate, self._offset_s = rate, offset_s
        self._tasks: list[asyncio.Task[Any]] = []
        self._prune_at = 64

    def clock(self) -> float:
        """Return the time of its boot clock, which leases are measured with."""
        return self.loop.time() * self._rate + self._offset_s

    def suspend(self, seconds: float) -> None:
        """Move its boot clock forward, as if the machine had been suspended."""
        self._offset_s += seconds

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task of this process."""
        return self.context.run(self.loop.create_task, coroutine)

    def call(self, function: Callable[..., object], *arguments: Any) -> None:
        """Run a function as a step of this process."""
        self.loop.call_soon(function, *arguments, context=self.context)

    def stop(self) -> None:
        """Stop the process, as SIGSTOP does."""
        self.stopped = True

    def proceed(self) -> None:
        """Let a stopped process continue with the work that it has missed."""
        if self.stopped and not self.crashed:
            self.stopped = False
            self.loop.release(self)

    def crash(self) -> None:
        """Kill the process. Its tasks stay where they are, and its memory is lost."""
        self.stopped = self.crashed = True

    def unfreeze(self) -> None:
        """Let even a crashed process run, so that it can be cleared away after a run."""
        self.stopped = False
        self.loop.release(self)

    def tasks(self) -> list[asyncio.Task[Any]]:
        """Return the tasks that have not ended, in the order of their start."""
        self._tasks = [task for task in self._tasks if not task.done()]
        self._prune_at = 64 + 2 * len(self._tasks)
        return list(self._tasks)

    def add(self, task: asyncio.Task[Any]) -> None:
        """Keep a task of this process: a task of a crashed process must not be garbage collected during the run."""
        self._tasks.append(task)
        if len(self._tasks) > self._prune_at:
            self.tasks()


PROCESS: Final[ContextVar[Process | None]] = ContextVar("process", default=None)
"""The process whose code runs; None for the network, etcd, the store, and the clients."""


class VirtualLoop(asyncio.BaseEventLoop):
    """The event loop.

    Attributes:
        errors: what was reported to the loop's exception handler.
    """

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[str] = []
        self._now = 0.0
        self._steps = 0
        self._work: deque[tuple[asyncio.Handle, Process | None]] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle, Process | None]] = []
        self._order = count()
        self.set_task_factory(self._new_task)
        self.set_exception_handler(self._note_error)

    def time(self) -> float:
        return self._now

    def call_soon(
        self, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle:
        context = context if context is not None else copy_context()
        handle = asyncio.Handle(callback, args, self, context)
        self._work.append((handle, context.get(PROCESS)))
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        context = context if context is not None else copy_context()
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._order), timer, context.get(PROCESS)))
        return timer

    def release(self, process: Process) -> None:
        """Schedule what a process missed while it was stopped."""
        held, process.held = process.held, deque()
        self._work.extend((handle, process) for handle in held)

    def timers(self, process: Process) -> list[str]:
        """Return the timers of a process that are still set."""
        return [repr(timer) for _, _, timer, owner in self._timers if owner is process and not timer.cancelled()]

    def _new_task(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
        context: Context | None = options.get("context")
        process = PROCESS.get() if context is None else context.get(PROCESS)
        if process is not None:
            process.add(task)
        return task

    def _note_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.errors.append(f"{context.get('message')}: {context.get('exception')!r}")

    def _process_events(self, event_list: Any) -> None:
        raise NotImplementedError("the simulation has no sockets")

    def _run_once(self) -> None:
        """Run what is ready, or move the time to the next timer."""
        work = self._work
        if not work:
            self._advance()
        for _ in range(len(work)):
            handle, process = work.popleft()
            if process is not None and process.stopped:
                process.held.append(handle)
            elif not handle.cancelled():
                handle._run()
        self._steps += 1
        assert self._steps < STEPS_PER_INSTANT_MAX, f"no end of work at {self._now} s"

    def _advance(self) -> None:
        timers, work = self._timers, self._work
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if not timers:
            raise Deadlock(f"nothing is left to do at {self._now} s")
        self._now, self._steps = max(self._now, timers[0][0]), 0
        while timers and timers[0][0] <= self._now:
            _, _, timer, process = heapq.heappop(timers)
            work.append((timer, process))


NOWHERE: Final = Context()
"""The context of the network: no process stops what runs in it."""
