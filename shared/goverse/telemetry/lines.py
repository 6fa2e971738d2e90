"""``LineWriter``: a log handler whose caller never waits for a slow terminal or a full pipe.

Records are formatted where they happen and written by one thread. The queue is bounded; what does not fit is
counted, and the count is written as soon as there is room, so nothing is lost silently.
"""

from __future__ import annotations

import atexit
import logging
import sys
from contextlib import suppress
from queue import Empty, Full, Queue
from threading import Thread
from typing import Final, TextIO

LINES_MAX: Final = 10_000
CLOSE_TIMEOUT_S: Final = 2.0

_BATCH_LINES = 500


class LineWriter(logging.Handler):
    """Writes formatted records to a text stream from a thread of its own."""

    def __init__(self, stream: TextIO | None = None, lines_max: int = LINES_MAX, *, as_json: bool = False) -> None:
        """Write to ``stream``, or to ``sys.stderr``; ``as_json`` tells in which form the lines are."""
        super().__init__()
        self.as_json = as_json
        self._stream = stream if stream is not None else sys.stderr
        self._lines: Queue[str | None] = Queue(lines_max)
        self._dropped = 0
        self._broken = False  # nothing can be written to the stream any more
        self._start()

    def emit(self, record: logging.LogRecord) -> None:
        """Format the record and hand it over; `handle` holds the handler's lock meanwhile."""
        try:
            self._put(self.format(record))
        except Exception:  # logging must not fail its caller; `handleError` says it on stderr
            self.handleError(record)

    def close(self) -> None:
        """Write what is waiting, for a bounded time.

        A later record starts the thread again: ``logging.config.dictConfig`` closes every handler that exists.
        """
        if self._thread.is_alive():
            try:
                self._lines.put(None, timeout=CLOSE_TIMEOUT_S)
                self._thread.join(CLOSE_TIMEOUT_S)
            except Full:
                pass  # the stream is stuck; the thread is a daemon and ends with the process
        super().close()

    def waiting(self) -> bool:
        """Tell whether lines wait to be written."""
        return not self._lines.empty()

    def _start(self) -> None:
        self._thread = Thread(target=self._write, name="goverse-log", daemon=True)
        self._thread.start()

    def _put(self, line: str) -> None:
        if not self._broken and not self._thread.is_alive():
            with suppress(RuntimeError):  # the interpreter ends
                self._start()
                atexit.register(self.close)  # `logging` has forgotten that this handler is to be flushed
        try:
            if self._dropped:
                self._lines.put_nowait(self._drop_notice())
                self._dropped = 0
            self._lines.put_nowait(line)
        except Full:
            self._dropped += 1

    def _drop_notice(self) -> str:
        message = f"{self._dropped} log lines were dropped because they could not be written fast enough"
        record = logging.LogRecord("goverse.log", logging.WARNING, "", 0, message, None, None)
        return self.format(record)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            batch = [line]
            ended = False
            try:
                while len(batch) < _BATCH_LINES and not ended:
                    more = self._lines.get_nowait()
                    ended = more is None
                    if more is not None:
                        batch.append(more)
            except Empty:
                pass
            try:
                self._stream.write(_encodable("\n".join(batch) + "\n", self._stream))
                self._stream.flush()
            except (OSError, ValueError):
                self._broken = True
                return  # the stream is closed; there is nowhere left to say so
            if ended:
                return


def _encodable(text: str, stream: TextIO) -> str:
    """Return ``text`` with what the stream's encoding does not know written as escapes."""
    encoding = stream.encoding or "utf-8"
    return text if text.isascii() else text.encode(encoding, "backslashreplace").decode(encoding)
