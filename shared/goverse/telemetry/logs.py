"""Logs: everything that logs in the process, in one form.

JSON is one object per line with ``ts``, ``level``, ``logger``, ``event``, and whatever the record brings
along (``extra=`` of the standard library, key words of structlog, bound context such as ``request_id``). Text
is the same for people. Code logs through ``logging.getLogger("goverse....")``; uvicorn, warnings and the
user's own loggers end up here as well.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import threading
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO, cast

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from goverse.errors import ConfigError
from goverse.limits import LOG_TEXT_BYTES_MAX
from goverse.model.problem_bounds import bounded_text
from goverse.objects.context import current_turn
from goverse.telemetry.lines import LineWriter

LogFormat = Literal["auto", "json", "text"]
LEVELS: Final = ("debug", "info", "warning", "error")

_NOISY: Final = ("asyncio", "httpcore", "httpx", "uvicorn", "watchfiles")
"""Loggers whose information is about their own machinery; their warnings are welcome."""

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
    """Send all logs to ``stream`` (standard error) in the given form; may be called again.

    Raises:
        ConfigError: there is no such level.
    """
    target = stream if stream is not None else sys.stderr
    text = log_format == "text" or (log_format == "auto" and target.isatty())
    handler = LineWriter(target, as_json=not text)
    handler.setFormatter(_formatter(text, node, colors=text and wants_color(target, environ)))
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old, LineWriter):
            root.removeHandler(old)
            old.close()
    root.addHandler(handler)
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


def begin(environ: Mapping[str, str]) -> None:
    """Prepare the log of a server process before its settings are known.

    A process that cannot read its settings says so in JSON as well, if the environment asks for JSON or standard error
    is not a terminal. What Python writes to standard error by itself goes through the log. What gRPC writes there is
    left out, since it repeats what gRPC reports to its callers.
    """
    asked = environ.get("GOVERSE_LOG__FORMAT") or environ.get("LOG_FORMAT") or "auto"
    formats: dict[str, LogFormat] = {"auto": "auto", "json": "json", "text": "text"}
    configure(formats.get(asked, "auto"), "info")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    threading.excepthook = _thread_failed
    sys.unraisablehook = _ignored


def writes_json() -> bool:
    """Tell whether every record is written as one JSON object."""
    return any(isinstance(handler, LineWriter) and handler.as_json for handler in logging.getLogger().handlers)


def _thread_failed(arguments: threading.ExceptHookArgs) -> None:
    name = arguments.thread.name if arguments.thread is not None else "unknown"
    logger.error("a thread failed", exc_info=arguments.exc_value, extra={"thread_name": name})


def _ignored(unraisable: sys.UnraisableHookArgs) -> None:
    logger.error(
        "an exception was ignored", exc_info=unraisable.exc_value, extra={"place": repr(unraisable.object)[:200]}
    )


def change_level(level: str) -> None:
    """Write records from ``level`` on, from now on.

    Raises:
        ConfigError: there is no such level.
    """
    if level not in LEVELS:
        raise ConfigError(f"there is no log level {level!r}; there are {', '.join(LEVELS)}")
    number = getattr(logging, level.upper())
    logging.getLogger().setLevel(number)
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))


def current_level() -> str:
    """Return the least severe level that is written."""
    return logging.getLevelName(logging.getLogger().level).lower()


def wants_color(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Tell whether colours are welcome: a terminal, and no ``NO_COLOR`` (https://no-color.org)."""
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
    last: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, _tidy, _bounded]
    if text:
        last.append(structlog.dev.ConsoleRenderer(colors=colors, timestamp_key="ts", pad_event_to=0))
    else:
        last += [
            _Node(node),
            structlog.processors.format_exc_info,
            _in_order,
            structlog.processors.JSONRenderer(_json),
        ]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.PositionalArgumentsFormatter(), *_shared()], processors=last
    )


class _Node:
    """Adds the node's name, so that logs of several can be put together."""

    def __init__(self, node: str) -> None:
        self._node = node

    def __call__(self, _: WrappedLogger, __: str, event: EventDict) -> EventDict:
        if self._node:
            event.setdefault("node", self._node)
        return event


def _turn(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Say of what a method logs which object and request it was; what the record says itself wins."""
    turn = current_turn.get()
    if turn is not None:
        for name, value in turn.place().items():
            event.setdefault(name, value)
    return event


def _time(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    record = event.get("_record")
    at = datetime.fromtimestamp(record.created, UTC) if isinstance(record, logging.LogRecord) else datetime.now(UTC)
    event["ts"] = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return event


def _tidy(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    # uvicorn's second copy of its message, and what other handlers' formatters leave on the record
    for name in ("color_message", "message", "asctime"):
        event.pop(name, None)
    return event


def _bounded(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Cut texts and tracebacks that are too long for a line; an exception may hold megabytes that came from outside."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = bounded_text(value, LOG_TEXT_BYTES_MAX)
    found: Any = event.get("exc_info")
    error: object = cast("tuple[object, ...]", found)[1] if isinstance(found, tuple) else found
    if isinstance(error, BaseException) and _says_too_much(error):
        del event["exc_info"]
        event["traceback"] = bounded_text("".join(traceback.format_exception(error)), LOG_TEXT_BYTES_MAX)
    return event


def _says_too_much(error: BaseException) -> bool:
    length, seen = 0, set[int]()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        with contextlib.suppress(Exception):  # an application's own __str__
            length += len(str(following))
        following = following.__cause__ or following.__context__
    return length > LOG_TEXT_BYTES_MAX // 2


def _in_order(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    first: dict[str, Any] = {name: event.pop(name) for name in _FIRST if name in event}
    return {**first, **event}


def _json(event: Any, **_: Any) -> str:
    try:
        return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # what orjson refuses, for example text that is not valid Unicode or a huge number
        return json.dumps(event, default=str, skipkeys=True)
