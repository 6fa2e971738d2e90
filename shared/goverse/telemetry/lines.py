"""``LineWriter``: a log handler that never blocks its caller, even on a slow terminal or a full pipe.

Records are formatted by the caller and written by one thread. The queue is bounded. Lines that do not fit are counted,
and the count is written as soon as there is room, so every loss is visible.
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
    """Writes formatted records to a text stream from its own thread."""

    def __init__(self, stream: TextIO | None = None, lines_max: int = LINES_MAX, *, as_json: bool = False) -> None:
        """Write to ``stream``, by default ``sys.stderr``; ``as_json`` is the format of the lines."""
        super().__init__()
        self.as_json = as_json
        self._stream = stream if stream is not None else sys.stderr
        self._lines: Queue[str | None] = Queue(lines_max)
        self._dropped = 0
        self._broken = False  # True once the stream is closed
        self._start()

    def emit(self, record: logging.LogRecord) -> None:
        """Format the record and queue it; the handler's lock is held by ``handle``."""
        try:
            self._put(self.format(record))
        except Exception:  # logging must not fail its caller; `handleError` reports on stderr
            self.handleError(record)

    def close(self) -> None:
        """Write the queued lines, for a limited time.

        A later record starts the thread again: ``logging.config.dictConfig`` closes every existing handler.
        """
        if self._thread.is_alive():
            try:
                self._lines.put(None, timeout=CLOSE_TIMEOUT_S)
                self._thread.join(CLOSE_TIMEOUT_S)
            except Full:
                pass  # the stream is blocked; the thread is a daemon and ends with the process
        super().close()

    def waiting(self) -> bool:
        """True while lines wait to be written."""
        return not self._lines.empty()

    def _start(self) -> None:
        self._thread = Thread(target=self._write, name="goverse-log", daemon=True)
        self._thread.start()

    def _put(self, line: str) -> None:
        if not self._broken and not self._thread.is_alive():
            with suppress(RuntimeError):  # the interpreter is shutting down
                self._start()
                atexit.register(self.close)  # `logging` no longer flushes a handler that was closed
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
                return  # the stream is closed, so this cannot be reported anywhere
            if ended:
                return


def _encodable(text: str, stream: TextIO) -> str:
    """Return ``text`` with backslash escapes for characters outside the stream's encoding."""
    encoding = stream.encoding or "utf-8"
    return text if text.isascii() else text.encode(encoding, "backslashreplace").decode(encoding)
