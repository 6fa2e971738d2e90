"""Logging: one output format for everything that logs in the process.

JSON is one object per line with ``ts``, ``level``, ``logger``, ``event``, and all fields of the record (``extra=`` of
the standard library, keyword arguments of structlog, bound context such as ``request_id``). Text is the same for
humans, with control characters escaped, so that no message can imitate another line. Values are truncated, because
clients and peers choose some of them. Code logs through ``logging.getLogger("goverse....")``. Output of uvicorn,
warnings and the user's own loggers uses the same format.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final, Literal, TextIO, cast

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from goverse.errors import ConfigError
from goverse.limits import LOG_TEXT_BYTES_MAX
from goverse.model.problem_bounds import bounded_text
from goverse.model.terminal_text import UNSAFE
from goverse.objects.context import current_turn
from goverse.telemetry.lines import LineWriter
from goverse.telemetry.own_loggers import OwnLogger, adopt

LogFormat = Literal["auto", "json", "text"]
LEVELS: Final = ("debug", "info", "warning", "error")

_NOISY: Final = ("asyncio", "httpcore", "httpx", "uvicorn", "watchfiles")
"""Loggers whose INFO records describe only their own internals; their warnings are kept."""

VALUE_BYTES_MAX: Final = 4_096
"""Limit of one value in a record of GoVerse, which may come from a client or a peer."""

FOREIGN_BYTES_MAX: Final = LOG_TEXT_BYTES_MAX
"""Limit of one value in any other record, and of a traceback."""

_ITEMS_MAX: Final = 100  # limit of items in a list or mapping
_DEPTH_MAX: Final = 4

_CONTROL: Final = re.compile(f"[{UNSAFE}]")
logger = logging.getLogger("goverse")

_FIRST: Final = ("ts", "level", "logger", "event")


def configure(
    log_format: LogFormat,
    level: str,
    *,
    node: str = "",
    stream: TextIO | None = None,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Send all logs to ``stream`` (default: standard error) in the given format; may be called again.

    Raises:
        ConfigError: the level is unknown.
    """
    target = stream if stream is not None else sys.stderr
    text = log_format == "text" or (log_format == "auto" and target.isatty())
    handler = LineWriter(target, as_json=not text)
    handler.setFormatter(_formatter(text, node, colors=text and wants_color(target, environ)))
    _remove_writers()
    logging.getLogger().addHandler(handler)
    OwnLogger.writer = handler
    adopt()
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
    logging.captureWarnings(True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    change_level(level)


def end() -> None:
    """Write queued lines and stop logging; what is then written to standard error is not part of the log."""
    OwnLogger.writer = None
    _remove_writers()


def _remove_writers() -> None:
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old, LineWriter):
            root.removeHandler(old)
            old.close()


def begin(environ: Mapping[str, str]) -> None:
    """Set up the log of a server process before its settings are known.

    A process that cannot read its settings also reports that in JSON, if the environment asks for JSON or standard
    error is not a terminal. Errors that Python itself prints to standard error (in threads, in destructors) are logged.
    gRPC's own output is suppressed, because it repeats what gRPC reports to its callers.
    """
    asked = environ.get("GOVERSE_LOG__FORMAT") or environ.get("LOG_FORMAT") or "auto"
    formats: dict[str, LogFormat] = {"auto": "auto", "json": "json", "text": "text"}
    configure(formats.get(asked, "auto"), "info")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    threading.excepthook = _thread_failed
    sys.unraisablehook = _ignored


def writes_json() -> bool:
    """True if every record is written as one JSON object."""
    return any(isinstance(handler, LineWriter) and handler.as_json for handler in logging.getLogger().handlers)


def _thread_failed(arguments: threading.ExceptHookArgs) -> None:
    name = arguments.thread.name if arguments.thread is not None else "unknown"
    logger.error("thread failed", exc_info=arguments.exc_value, extra={"thread_name": name})


def _ignored(unraisable: sys.UnraisableHookArgs) -> None:
    logger.error("exception ignored", exc_info=unraisable.exc_value, extra={"place": repr(unraisable.object)[:200]})


def change_level(level: str) -> None:
    """Write records of ``level`` and above from now on.

    Raises:
        ConfigError: the level is unknown.
    """
    if level not in LEVELS:
        raise ConfigError(f"unknown log level {level!r}; use one of {', '.join(LEVELS)}")
    number = getattr(logging, level.upper())
    logging.getLogger().setLevel(number)
    OwnLogger.threshold = number
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))


def current_level() -> str:
    """Return the lowest level of which GoVerse writes records, whatever the application made of the root logger."""
    level = logging.getLogger().level if OwnLogger.writer is None else OwnLogger.threshold
    return next((name for name in LEVELS if level <= getattr(logging, name.upper())), LEVELS[-1])


def wants_color(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """True if output may be coloured: on a terminal, without ``NO_COLOR`` (https://no-color.org)."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        _turn,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        _time,
    ]


def _formatter(text: bool, node: str, *, colors: bool) -> logging.Formatter:
    last: list[Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        _tidy,
        structlog.processors.format_exc_info,
        _bounded,
    ]
    if text:
        # The plain formatter: the default one blocks the event loop for tens of milliseconds per traceback
        plain = structlog.dev.plain_traceback
        last += [
            _warning,
            _escaped,
            structlog.dev.ConsoleRenderer(colors=colors, timestamp_key="ts", pad_event_to=0, exception_formatter=plain),
        ]
    else:
        last += [
            _Node(node),
            _in_order,
            structlog.processors.JSONRenderer(_json),
        ]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.PositionalArgumentsFormatter(), *_shared()], processors=last
    )


class _Node:
    """Adds the node's name, so that the logs of several nodes can be merged."""

    def __init__(self, node: str) -> None:
        self._node = node

    def __call__(self, _: WrappedLogger, __: str, event: EventDict) -> EventDict:
        if self._node:
            event.setdefault("node", self._node)
        return event


def _turn(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Add the object and request of the current turn; fields of the record itself take precedence."""
    turn = current_turn.get()
    if turn is not None:
        for name, value in turn.log_fields().items():
            event.setdefault(name, value)
    return event


def _time(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    record = event.get("_record")
    at = datetime.fromtimestamp(record.created, UTC) if isinstance(record, logging.LogRecord) else datetime.now(UTC)
    event["ts"] = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return event


def _tidy(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    # uvicorn's second copy of its message, and attributes left by the formatters of other handlers
    for name in ("color_message", "message", "asctime"):
        event.pop(name, None)
    return event


def _bounded(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Truncate long values."""
    own = str(event.get("logger", "")).partition(".")[0] == "goverse"
    for name, value in event.items():
        if not isinstance(value, int | float | None):
            traceback = name in ("exception", "stack")
            event[name] = _cut(value, VALUE_BYTES_MAX if own and not traceback else FOREIGN_BYTES_MAX)
    return event


def _cut(value: Any, most: int, depth: int = 0) -> Any:
    if isinstance(value, str):
        return bounded_text(value, most)
    if isinstance(value, bytes | bytearray):
        return bytes(value) if len(value) <= most else bytes(value[:most]) + b"..."
    if depth < _DEPTH_MAX:
        if isinstance(value, list | tuple | set | frozenset):
            items = cast("Iterable[Any]", value)
            return [_cut(item, most, depth + 1) for item in islice(items, _ITEMS_MAX)]
        if isinstance(value, dict):
            pairs = islice(cast("Mapping[Any, Any]", value).items(), _ITEMS_MAX)
            return {_cut(name, most, depth + 1): _cut(item, most, depth + 1) for name, item in pairs}
    return value


def _warning(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Show the source line of a Python warning like a line of a traceback."""
    if event.get("logger") == "py.warnings":
        text, found, source = str(event["event"]).rstrip("\n").rpartition("\n  ")
        if found:
            event["event"], event["stack"] = text, source
    return event


def _escaped(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Escape control characters in text. Traceback lines are indented, so that none can imitate a record."""
    for name, value in event.items():
        if isinstance(value, str):
            if name in ("exception", "stack"):
                event[name] = "\n".join(f"    {_escape(line)}" for line in value.split("\n"))
            else:
                event[name] = _escape(value.rstrip("\n"))
    return event


def _escape(text: str) -> str:
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _in_order(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    first: dict[str, Any] = {name: event.pop(name) for name in _FIRST if name in event}
    return {**first, **event}


def _json(event: Any, **_: Any) -> str:
    try:
        return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # orjson refuses it, e.g. text that is not valid Unicode or a huge number
        return json.dumps(event, default=str, skipkeys=True)
