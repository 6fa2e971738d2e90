"""Loggers of GoVerse, which an application's logging configuration cannot silence.

An application may configure ``logging`` as it likes and whenever it likes: ``dictConfig`` disables and closes what
exists by default, ``basicConfig(force=True)`` takes the root's handlers away, ``logging.disable`` stops everything.
GoVerse's lines would then be lost, and with them the cause of every failed call.

So GoVerse's own loggers

1. cannot be disabled, and have a level of their own, which is not the root's;
2. write to the process's log directly;
3. hand their records on to further handlers (error trackers, files, those of tests), but not to handlers of the root
   that write to the terminal, where each line would stand twice.

An application that names a logger of GoVerse in its configuration sets its level.
"""

from __future__ import annotations

import logging
import sys
from typing import ClassVar, Final, TextIO, cast

_NAMES: Final = ("goverse", "uvicorn")


class OwnLogger(logging.Logger):
    """A logger of GoVerse.

    Attributes:
        writer: the process's log; None while it is not configured, and the logger is like any other.
        threshold: the level of loggers that have none of their own.
    """

    writer: ClassVar[logging.Handler | None] = None
    threshold: ClassVar[int] = logging.INFO

    @property
    def disabled(self) -> bool:
        """Tell that the logger is never disabled."""
        return False

    @disabled.setter
    def disabled(self, value: bool) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Ignore what ``dictConfig`` does to every logger that it does not name."""

    def getEffectiveLevel(self) -> int:  # noqa: N802
        """Return the level of this logger, or of the nearest one above that has one."""
        if self.writer is None:
            return super().getEffectiveLevel()
        above: logging.Logger | None = self
        while isinstance(above, OwnLogger):
            if above.level:
                return above.level
            above = above.parent
        return self.threshold

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802
        """Tell whether records of ``level`` are written, whatever ``logging.disable`` says."""
        if self.writer is None:
            return super().isEnabledFor(level)
        return level >= self.getEffectiveLevel()

    def callHandlers(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Write ``record``, then hand it on."""
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
    """Make every logger of GoVerse that exists one that cannot be silenced; may be called again."""
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
    """Tell whether ``handler`` would write to the terminal once more."""
    if above.parent is not None or not isinstance(handler, logging.StreamHandler):
        return False
    stream = cast("logging.StreamHandler[TextIO]", handler).stream
    return stream is sys.stderr or stream is sys.stdout or stream is sys.__stderr__ or stream is sys.__stdout__
