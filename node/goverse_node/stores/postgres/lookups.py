"""Questions to the database in company: what is asked in one turn of the event loop goes out as one query.

A question that met a database which restarts or is away is asked again, together with all others by then, after
pauses that double; until it has an answer, nobody waits for it any more, or patience ends.
"""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from goverse.errors import Unavailable
from goverse.limits import CALL_TIMEOUT_S_MAX

Question = TypeVar("Question", bound=Hashable)
Answer = TypeVar("Answer")

BATCH_MAX: Final = 256
RETRY_S: Final = 0.05
RETRY_S_MAX: Final = 1.0
PATIENCE_S: Final = CALL_TIMEOUT_S_MAX  # no call waits longer for what it needs to know


class _Asked(NamedTuple, Generic[Answer]):
    """Who waits for the answer to a question, and until when it is asked."""

    until: float
    futures: list[Future[Answer]]


class Lookups(Generic[Question, Answer]):
    """Asks ``ask`` for many questions at once; equal questions of one batch are asked once.

    ``ask`` returns the answers in the order of the questions; what it raises is the answer to all of them, except
    ``Unavailable``, after which they are asked again.
    """

    def __init__(
        self, ask: Callable[[Sequence[Question]], Awaitable[Sequence[Answer]]], *, patience_s: float = PATIENCE_S
    ) -> None:
        """Ask nothing yet; give up a question after ``patience_s``."""
        self._ask = ask
        self._patience_s = patience_s
        self._pause_s = 0.0
        self._waiting: dict[Question, _Asked[Answer]] = {}
        self._timer: asyncio.Handle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, question: Question) -> Future[Answer]:
        """Ask with the others of this turn of the loop."""
        loop = asyncio.get_running_loop()
        answer: Future[Answer] = loop.create_future()
        asked = self._waiting.get(question)
        if asked is None:
            self._waiting[question] = _Asked(loop.time() + self._patience_s, [answer])
        else:
            asked.futures.append(answer)
        self._arm()
        return answer

    def _arm(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._pause_s, self._send) if self._pause_s else loop.call_soon(self._send)

    def _send(self) -> None:
        self._timer = None
        waiting, self._waiting = self._waiting, {}
        questions = [
            question for question, asked in waiting.items() if not all(future.done() for future in asked.futures)
        ]
        for start in range(0, len(questions), BATCH_MAX):
            batch = {question: waiting[question] for question in questions[start : start + BATCH_MAX]}
            task = asyncio.get_running_loop().create_task(self._answer(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, batch: dict[Question, _Asked[Answer]]) -> None:
        try:
            answers = await self._ask(list(batch))
        except Unavailable as error:
            self._ask_again(batch, error)
        except Exception as error:
            for asked in batch.values():
                _refuse(asked, error)
        except BaseException:
            for asked in batch.values():
                for future in asked.futures:
                    future.cancel()
            raise
        else:
            self._pause_s = 0.0
            for asked, answer in zip(batch.values(), answers, strict=True):
                for future in asked.futures:
                    if not future.done():
                        future.set_result(answer)

    def _ask_again(self, batch: dict[Question, _Asked[Answer]], error: Unavailable) -> None:
        now = asyncio.get_running_loop().time()
        if self._timer is None:  # the first of those that were under way together
            self._pause_s = min(2 * self._pause_s or RETRY_S, RETRY_S_MAX)
        for question, asked in batch.items():
            asked.futures[:] = [future for future in asked.futures if not future.done()]
            if not asked.futures:
                continue  # the calls behind it have ended
            if now >= asked.until:
                _refuse(asked, error)
                continue
            later = self._waiting.get(question)
            self._waiting[question] = asked if later is None else _Asked(asked.until, asked.futures + later.futures)
        if self._waiting:
            self._arm()

    async def stop(self) -> None:
        """Cancel what is under way."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for asked in self._waiting.values():
            for future in asked.futures:
                future.cancel()
        self._waiting.clear()
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


def _refuse(asked: _Asked[Answer], error: Exception) -> None:
    for future in asked.futures:
        if not future.done():
            future.set_exception(error)
