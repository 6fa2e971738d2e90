"""The supervisor process: executes the actions of ``Supervision`` with real processes, files and signals."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from goverse.objects.application import Target
from goverse_cli.dev.channel import Failed, Imported, Job, Message, Serving
from goverse_cli.dev.process import ServerProcess
from goverse_cli.dev.supervision import (
    Action,
    Actions,
    Finish,
    Kill,
    LetServe,
    LetStop,
    Pause,
    Say,
    Start,
    Supervision,
    TurnAway,
)
from goverse_cli.dev.turning_away import turn_away
from goverse_cli.dev.watch import SourceFilter, changes
from goverse_cli.failure import ExitCode, Failure

logger = logging.getLogger("goverse.dev")

STOP_MARGIN_S: Final = 15.0  # beyond the drain: hooks of passivated objects, the last commit


class Supervisor:
    """Keeps one server process alive and replaces it when the application changes."""

    def __init__(self, job: Job, *, target: Target, drain_timeout_s: float) -> None:
        """Serve ``job``, and watch the files of ``target``."""
        self._job = job
        package = target.package.resolve() if target.package is not None else None
        config = Path(job.config).resolve() if job.config is not None else None
        self._concerns = SourceFilter(target.folder.resolve(), package, config)
        self._stop_timeout_s = drain_timeout_s + STOP_MARGIN_S
        self._rules = Supervision()
        self._processes: dict[int, ServerProcess] = {}
        self._doomed: set[int] = set()
        self._importing: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._turning_away: asyncio.Task[None] | None = None
        self._finished: asyncio.Future[Finish]

    async def run(self) -> int:
        """Supervise until a stop signal or an unrecoverable error, and return the exit code.

        Raises:
            Failure: the application cannot be imported or served.
        """
        loop = asyncio.get_running_loop()
        self._finished = loop.create_future()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        self._spawn(self._watch())
        self._do(self._rules.begin())
        try:
            finished = await self._finished
        finally:
            for process in self._processes.values():
                process.kill()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if finished.why:
            raise Failure(finished.why, exit_code=ExitCode(finished.exit_code))
        return finished.exit_code

    # --- events -------------------------------------------------------------------------------------------------------

    def _on_signal(self) -> None:
        self._do(self._rules.told_to_stop())

    async def _watch(self) -> None:
        try:
            async for what in changes(self._concerns):
                self._do(self._rules.changed(what))
        except (OSError, RuntimeError) as error:
            folder = self._concerns.folder
            logger.warning("cannot watch %s for changes (%s); restart goverse dev after a change", folder, error)

    async def _run(self, number: int) -> None:
        self._importing.add(number)
        process = await ServerProcess.start(self._job)
        self._processes[number] = process
        if number in self._doomed:
            process.kill()
        status = await process.follow(lambda message: self._heard(number, message))
        del self._processes[number]
        self._importing.discard(number)
        self._do(self._rules.ended(number, _how(status), asyncio.get_running_loop().time()))

    def _heard(self, number: int, message: Message) -> None:
        match message:
            case Imported(files):
                self._importing.discard(number)
                self._concerns.imported(files)
                self._do(self._rules.imported(number))
            case Serving():
                self._do(self._rules.serving(number, asyncio.get_running_loop().time()))
            case Failed(message=text, exit_code=exit_code, by_application=by_application):
                if number in self._importing:
                    self._concerns.imported(None)
                self._do(self._rules.failed(number, text, exit_code, by_application=by_application))
            case _:
                logger.error("unexpected message from the server process: %s", type(message).__name__)

    # --- actions ------------------------------------------------------------------------------------------------------

    def _do(self, actions: Actions) -> None:
        for action in actions:
            self._carry_out(action)

    def _carry_out(self, action: Action) -> None:
        match action:
            case Start(number):
                self._spawn(self._run(number))
            case LetServe(number, announce):
                self._stop_turning_away()
                self._with(number, lambda process: process.serve(announce=announce))
            case LetStop(number):
                self._with(number, ServerProcess.stop)
                asyncio.get_running_loop().call_later(self._stop_timeout_s, self._kill_overdue, number)
            case Kill(number):
                self._doomed.add(number)  # the process may not have been created yet
                self._with(number, ServerProcess.kill)
            case TurnAway():
                self._stop_turning_away()
                self._turning_away = self._spawn(turn_away(self._job.listener))
            case Pause(seconds):
                asyncio.get_running_loop().call_later(seconds, lambda: self._do(self._rules.retry()))
            case Say(level, event, details):
                extra = {"exception": details} if details else {}
                logger.log(logging.getLevelNamesMapping()[level.upper()], event, extra=extra)
            case Finish():
                with suppress(asyncio.InvalidStateError):
                    self._finished.set_result(action)

    def _with(self, number: int, do: Callable[[ServerProcess], None]) -> None:
        process = self._processes.get(number)
        if process is not None:
            do(process)

    def _kill_overdue(self, number: int) -> None:
        if number in self._processes:
            logger.error("the server process did not stop within %g s; killing it", self._stop_timeout_s)
            self._processes[number].kill()

    def _stop_turning_away(self) -> None:
        if self._turning_away is not None:
            self._turning_away.cancel()
            self._turning_away = None

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _how(status: int) -> str:
    if status < 0:
        with suppress(ValueError):
            return f"was ended by {signal.Signals(-status).name}"
    return f"ended with exit code {status}"
