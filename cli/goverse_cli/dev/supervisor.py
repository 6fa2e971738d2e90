"""The supervisor process of ``goverse dev``: owns the socket, watches the files, and replaces the server process.

It repeats three steps: import the newest code in a new process; if that succeeds, drain the process that serves and let
the new one serve; wait for a change of the code or the end of the process.

* Code that cannot be imported, that cannot be described in the API document, or whose ``@on_start`` function fails, is
  reported, and the next change is tried. So is code for which a server fails with an unexpected error.
* A change during an import starts it again. A change during a switch waits, because the newer code may be broken.
* A process that dies is started again after a growing pause. The command ends with the fifth quick death in a row. It
  also ends if the data cannot be served, and if no edit of the application can fix the first import.
* The first stop signal drains, the second one kills.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from pathlib import Path
from typing import Any, Final

from goverse.objects.application import Target
from goverse_cli.dev.messages import Job, Report
from goverse_cli.dev.server_process import ServerProcess
from goverse_cli.dev.watch import SourceFilter, changes
from goverse_cli.failure import ExitCode, Failure

QUICK_DEATH_S: Final = 10.0
QUICK_DEATHS_MAX: Final = 4
PAUSE_S: Final = 0.2
STOP_MARGIN_S: Final = 15.0  # beyond the drain: hooks of passivated objects, the last commit

logger = logging.getLogger("goverse.dev")


class Supervisor:
    """One run of ``goverse dev``."""

    def __init__(self, job: Job, *, target: Target, drain_timeout_s: float) -> None:
        """Serve ``job``, and watch the files of ``target``."""
        self._job = job
        package = target.package.resolve() if target.package is not None else None
        config = Path(job.config).resolve() if job.config is not None else None
        self._concerns = SourceFilter(target.folder.resolve(), package, config)
        self._stop_timeout_s = drain_timeout_s + STOP_MARGIN_S
        self._current: ServerProcess | None = None  # serves, or is about to
        self._candidate: ServerProcess | None = None  # imports the newest code, or waits for its turn to serve
        self._change: asyncio.Future[None]  # of the code, since the newest import began
        self._signals = 0
        self._deaths = 0  # in a row, since the last change
        self._tried = False  # an import has succeeded, or failed because of the application's own code
        self._announced = False

    async def run(self) -> int:
        """Supervise until a stop signal or an unrecoverable error, and return the exit code.

        Raises:
            Failure: the application cannot be imported or served.
        """
        loop = asyncio.get_running_loop()
        self._change = loop.create_future()
        tasks = [asyncio.create_task(self._supervise()), asyncio.create_task(self._watch())]
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal, tasks)
        try:
            await tasks[0]
        except asyncio.CancelledError:
            if self._current is not None:
                await self._drain(self._current)
        finally:
            await self._kill()
        return 0 if self._signals == 1 else 1

    def _on_signal(self, tasks: list[asyncio.Task[None]]) -> None:
        self._signals += 1
        if self._signals == 1:
            logger.info("stopping after the running calls finish")
            for task in tasks:
                task.cancel()
        else:
            logger.warning("stopping immediately")
            tasks.append(asyncio.create_task(self._kill()))

    async def _watch(self) -> None:
        try:
            async for what in changes(self._concerns):
                logger.info("%s changed; importing the application again", what)
                self._deaths = 0
                if not self._change.done():
                    self._change.set_result(None)
        except (OSError, RuntimeError) as error:
            folder = self._concerns.folder
            logger.warning("cannot watch %s for changes (%s); restart goverse dev after a change", folder, error)

    async def _supervise(self) -> None:
        while True:
            candidate = await self._import()
            imported = candidate.imported.result()
            self._concerns.imported(imported)
            if imported is not None:
                await self._switch(candidate)
            elif candidate.failure is not None:
                self._report(candidate.failure, fatal=not self._tried)
            else:
                logger.error("the process that imported the application %s", candidate.ended.result())
                if self._current is None:
                    await self._pause(quick=True)
                    continue
            await self._until_due()

    async def _import(self) -> ServerProcess:
        """Import the newest code in a new process."""
        while True:
            self._change = asyncio.get_running_loop().create_future()
            self._candidate = await ServerProcess.start(self._job)
            if not await self._changed_before(self._candidate.imported):
                return self._candidate
            await self._candidate.kill()

    async def _switch(self, candidate: ServerProcess) -> None:
        """Drain the process that serves, then let ``candidate`` serve."""
        self._tried = True
        if self._current is not None:
            await self._drain(self._current)
        self._current, self._candidate = candidate, None
        candidate.serve(announce=not self._announced)
        candidate.serving.add_done_callback(self._greet)

    def _greet(self, _: asyncio.Future[float]) -> None:
        if self._announced:
            logger.info("the application is served again" if self._deaths else "the application was reloaded")
        self._announced = True

    async def _until_due(self) -> None:
        """Wait until the code has to be imported again: it has changed, or the process that serves has died."""
        current = self._current
        if current is None:
            await self._change
        elif not await self._changed_before(current.ended):
            self._current = None
            if current.failure is not None:
                self._report(current.failure, fatal=True)
                await self._change
            else:
                logger.error("the server process %s; starting it again", current.ended.result())
                await self._pause(quick=current.served_s() < QUICK_DEATH_S)

    async def _changed_before(self, event: asyncio.Future[Any]) -> bool:
        await asyncio.wait({event, self._change}, return_when=asyncio.FIRST_COMPLETED)
        return self._change.done()

    async def _pause(self, *, quick: bool) -> None:
        """Wait before a process that died is started again.

        Raises:
            Failure: too many processes died quickly in a row.
        """
        self._deaths = self._deaths + 1 if quick else 1
        if self._deaths > QUICK_DEATHS_MAX:
            raise Failure(f"the server process died {self._deaths} times in a row; giving up")
        await asyncio.wait({self._change}, timeout=PAUSE_S * 2 ** (self._deaths - 1))

    def _report(self, failure: Report, *, fatal: bool) -> None:
        """Log a failure that only a change can fix.

        Raises:
            Failure: the failure ends the command.
        """
        if fatal and failure.state == "failed":
            raise Failure(failure.message, hint=failure.hint, exit_code=ExitCode(failure.exit_code))
        self._tried = True
        rest = "nothing is served" if self._current is None else "still serving the old code"
        first, _, traceback = failure.message.partition("\n")
        extra = {"exception": traceback} if traceback else {}
        logger.error("%s; %s; waiting for the next change", first.rstrip(":"), rest, extra=extra)

    async def _drain(self, process: ServerProcess) -> None:
        await process.stop(self._stop_timeout_s)
        if process.failure is not None:
            self._report(process.failure, fatal=True)

    async def _kill(self) -> None:
        for process in (self._current, self._candidate):
            if process is not None:
                await process.kill()
