"""Questions to the database in company: what is asked in one turn of the event loop goes out as one query."""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Final, Generic, TypeVar

Question = TypeVar("Question", bound=Hashable)
Answer = TypeVar("Answer")

BATCH_MAX: Final = 256


class Lookups(Generic[Question, Answer]):
    """Asks ``ask`` for many questions at once; equal questions of one batch are asked once.

    ``ask`` returns the answers in the order of the questions; what it raises is the answer to all of them.
    """

    def __init__(self, ask: Callable[[Sequence[Question]], Awaitable[Sequence[Answer]]]) -> None:
        """Ask nothing yet."""
        self._ask = ask
        self._waiting: dict[Question, list[Future[Answer]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, question: Question) -> Future[Answer]:
        """Ask with the others of this turn of the loop."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._send)
        answer: Future[Answer] = loop.create_future()
        self._waiting.setdefault(question, []).append(answer)
        return answer

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, {}
        questions = list(waiting)
        for start in range(0, len(questions), BATCH_MAX):
            batch = questions[start : start + BATCH_MAX]
            task = asyncio.get_running_loop().create_task(self._answer(batch, waiting))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, batch: Sequence[Question], waiting: dict[Question, list[Future[Answer]]]) -> None:
        try:
            answers = await self._ask(batch)
        except BaseException as error:
            for question in batch:
                for future in waiting[question]:
                    if not future.done():
                        future.set_exception(error) if isinstance(error, Exception) else future.cancel()
            if not isinstance(error, Exception):
                raise
            return
        for question, answer in zip(batch, answers, strict=True):
            for future in waiting[question]:
                if not future.done():
                    future.set_result(answer)

    async def stop(self) -> None:
        """Cancel what is under way."""
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
