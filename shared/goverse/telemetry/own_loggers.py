"""GoVerse's own loggers, which an application's logging configuration cannot silence.

An application may configure ``logging`` at any time and in any way. ``dictConfig`` disables and closes existing loggers
and handlers by default, ``basicConfig(force=True)`` removes the root's handlers, ``logging.disable`` stops all output.
GoVerse's log lines would then be lost, and with them the cause of every failed call. GoVerse's own loggers therefore

1. cannot be disabled, and have a level that does not depend on the root's;
2. write directly to the process's log;
3. pass their records on to other handlers (error trackers, files, test fixtures), except to handlers of the root that
   write to the terminal, where every line would appear twice.

An application can set the level of a GoVerse logger by naming it in its configuration.
"""

from __future__ import annotations

import logging
import sys
from typing import ClassVar, Final, TextIO, cast

_NAMES: Final = ("goverse", "uvicorn")


class OwnLogger(logging.Logger):
    """A logger of GoVerse.

    Attributes:
        writer: the process's log. While it is None, the logger behaves like any other.
        threshold: the level of loggers that have no level of their own.
    """

    writer: ClassVar[logging.Handler | None] = None
    threshold: ClassVar[int] = logging.INFO

    @property
    def disabled(self) -> bool:
        """Always False."""
        return False

    @disabled.setter
    def disabled(self, value: bool) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Ignore the attempt of ``dictConfig`` to disable a logger that it does not name."""

    def getEffectiveLevel(self) -> int:  # noqa: N802
        """Return the level of this logger, or of its nearest ancestor that has one."""
        if self.writer is None:
            return super().getEffectiveLevel()
        above: logging.Logger | None = self
        while isinstance(above, OwnLogger):
            if above.level:
                return above.level
            above = above.parent
        return self.threshold

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802
        """True if records of ``level`` are written; ``logging.disable`` has no effect."""
        if self.writer is None:
            return super().isEnabledFor(level)
        return level >= self.getEffectiveLevel()

    def callHandlers(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Write ``record``, then pass it to the other handlers."""
        writer = self.writer
        if writer is None:
            super().callHandlers(record)
            return
        writer.handle(record)
        above: logging.Logger | None = self
        while above is not None:
            for handler in above.handlers:
                if record.levelno >= handler.level and handler is not writer and not _repeats(above, handler):
                    handler.handle(record)
            above = above.parent if above.propagate else None


def adopt() -> None:
    """Convert all existing GoVerse loggers to ``OwnLogger``; may be called again."""
    for name in _NAMES:
        logging.getLogger(name)
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if (
            name.partition(".")[0] in _NAMES
            and isinstance(logger, logging.Logger)
            and not isinstance(logger, OwnLogger)
        ):
            vars(logger).pop("disabled", None)
            logger.__class__ = OwnLogger


def _repeats(above: logging.Logger, handler: logging.Handler) -> bool:
    """True if ``handler`` would write the record to the terminal a second time."""
    if above.parent is not None or not isinstance(handler, logging.StreamHandler):
        return False
    stream = cast("logging.StreamHandler[TextIO]", handler).stream
    return stream is sys.stderr or stream is sys.stdout or stream is sys.__stderr__ or stream is sys.__stdout__
