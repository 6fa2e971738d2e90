"""Logs: one format for all sources, a level that can change, and a writer that never blocks."""

import io
import json
import logging
import logging.config
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import cast

import pytest
import structlog
from prometheus_client import CollectorRegistry, generate_latest

from goverse.errors import ConfigError
from goverse.objects.context import Turn, current_turn
from goverse.telemetry.lines import LineWriter
from goverse.telemetry.logs import LogFormat, change_level, configure, current_level
from goverse.telemetry.own_loggers import OwnLogger, adopt
from goverse.telemetry.process import register_process_metrics


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    for handler in root.handlers[:]:
        if handler not in handlers:
            root.removeHandler(handler)
            handler.close()
    logging.captureWarnings(False)
    logging.disable(logging.NOTSET)
    OwnLogger.writer = None
    for logger in logging.root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.disabled = False
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[str]:
    assert OwnLogger.writer is not None
    OwnLogger.writer.close()
    return stream.getvalue().splitlines()


def objects(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in lines(stream)]


@pytest.mark.requirement("OBS-3")
def test_json_has_one_object_per_line_with_time_level_logger_event_and_fields() -> None:
    stream = io.StringIO()
    configure("json", "info", node="n1", stream=stream)

    logging.getLogger("goverse.gate").info("answered %s", "200\nOK", extra={"request_id": "r1", "duration_ms": 1.5})

    (entry,) = objects(stream)
    assert list(entry)[:4] == ["ts", "level", "logger", "event"]
    assert str(entry.pop("ts")).endswith("Z")
    assert entry == {
        "level": "info",
        "logger": "goverse.gate",
        "event": "answered 200\nOK",
        "request_id": "r1",
        "duration_ms": 1.5,
        "node": "n1",
    }


class FakeTurn:
    """A turn with just the fields that a log record needs."""

    def log_fields(self) -> Mapping[str, str | int]:
        return {"object": "Bid/1", "method": "raise_it", "request_id": "r1", "shard": 7, "trace_id": "t1"}


@pytest.mark.requirement("OBS-3")
def test_log_lines_of_a_method_carry_its_object_and_their_own_fields_take_precedence() -> None:
    stream = io.StringIO()
    configure("json", "info", node="n1", stream=stream)
    token = current_turn.set(cast("Turn", FakeTurn()))
    logging.getLogger("shop").info("bid", extra={"method": "own"})
    structlog.get_logger("shop").info("bid again")
    current_turn.reset(token)
    logging.getLogger("shop").info("outside")

    bid, again, outside = objects(stream)
    place = {"object": "Bid/1", "request_id": "r1", "shard": 7, "trace_id": "t1", "node": "n1"}
    assert place.items() <= bid.items()
    assert bid["method"] == "own"
    assert {**place, "method": "raise_it"}.items() <= again.items()
    assert "shard" not in outside


@pytest.mark.requirement("OBS-3")
def test_structlog_uvicorn_and_warnings_use_the_same_log() -> None:
    stream = io.StringIO()
    configure("json", "info", stream=stream)

    with structlog.contextvars.bound_contextvars(request_id="r2", trace_id="t2"):
        structlog.stdlib.get_logger("mine").info("placed", bid=7)
        logging.getLogger("users.module").warning("low")
    logging.getLogger("uvicorn.error").info("Started server process")
    logging.getLogger("uvicorn.error").warning("Slow", extra={"color_message": "\x1b[1mSlow"})
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", stacklevel=1)

    bid, low, slow, old = objects(stream)
    assert (bid["event"], bid["bid"], bid["request_id"], bid["trace_id"]) == ("placed", 7, "r2", "t2")
    assert (low["event"], low["request_id"]) == ("low", "r2")
    assert (slow["event"], slow["logger"], "color_message" in slow) == ("Slow", "uvicorn.error", False)
    assert (old["logger"], old["level"]) == ("py.warnings", "warning")


def test_an_exception_is_in_the_record_and_unusual_values_do_not_break_it(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    root = logging.getLogger()
    before = root.handlers[:]
    configure("json", "info", stream=stream)
    # pytest's own handlers would add values that its report cannot hold
    monkeypatch.setattr(root, "handlers", [handler for handler in root.handlers if handler not in before])

    try:
        raise ValueError("bad \udcff")
    except ValueError:
        logging.getLogger("goverse").exception("failed", extra={"what": {1: object}})

    (entry,) = objects(stream)
    assert "ValueError: bad" in str(entry["exception"])
    assert "Traceback" in str(entry["exception"])


def test_text_has_colours_only_on_a_terminal_that_wants_them() -> None:
    plain, colored, muted = io.StringIO(), Terminal(), Terminal()
    for stream, environ in ((plain, {}), (colored, {}), (muted, {"NO_COLOR": "1"})):
        configure("text", "info", stream=stream, environ=environ)
        logging.getLogger("goverse").info("serving", extra={"port": 8000})
        lines(stream)

    assert "serving" in plain.getvalue()
    assert "port=8000" in plain.getvalue()
    assert "\x1b[" in colored.getvalue()
    assert "\x1b[" not in plain.getvalue() + muted.getvalue()


def test_auto_means_text_on_a_terminal_and_json_elsewhere() -> None:
    terminal, pipe = Terminal(), io.StringIO()
    for stream in (terminal, pipe):
        configure("auto", "info", stream=stream, environ={})
        logging.getLogger("goverse").info("serving")
        lines(stream)

    assert json.loads(pipe.getvalue())["event"] == "serving"
    assert not terminal.getvalue().startswith("{")


@pytest.mark.parametrize("root", [logging.CRITICAL, logging.NOTSET])
def test_the_level_is_the_one_of_goverse_although_an_application_sets_that_of_the_root(root: int) -> None:
    configure("json", "info", stream=io.StringIO())

    logging.getLogger().setLevel(root)

    assert current_level() == "info"


def test_the_level_changes_at_run_time_and_libraries_stay_quiet() -> None:
    stream = io.StringIO()
    configure("json", "warning", stream=stream)

    logging.getLogger("goverse").info("unheard")
    change_level("debug")
    assert current_level() == "debug"
    logging.getLogger("goverse").debug("heard")
    structlog.stdlib.get_logger("mine").debug("heard too")
    logging.getLogger("watchfiles").info("7 changes detected")

    assert [entry["event"] for entry in objects(stream)] == ["heard", "heard too"]
    with pytest.raises(ConfigError, match="unknown log level 'loud'"):
        change_level("loud")


class Stuck(io.StringIO):
    """A stream that blocks until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()
        self.released = threading.Event()

    def write(self, text: str) -> int:
        self.reached.set()
        assert self.released.wait(30)
        return super().write(text)


def test_a_stuck_reader_blocks_no_caller_and_dropped_lines_are_counted() -> None:
    stream = Stuck()
    writer = LineWriter(stream, lines_max=3)
    logger = logging.Logger("goverse")
    logger.addHandler(writer)

    logger.warning("first")
    assert stream.reached.wait(30)
    for number in range(10):
        logger.warning("line %s", number)
    stream.released.set()
    while writer.waiting():
        stream.reached.wait(0.01)
    logger.warning("last")
    writer.close()

    assert stream.getvalue().splitlines() == [
        "first",
        "line 0",
        "line 1",
        "line 2",
        "7 log lines were dropped because they could not be written fast enough",
        "last",
    ]


def test_a_closed_stream_raises_nothing() -> None:
    stream = io.StringIO()
    writer = LineWriter(stream)
    logger = logging.Logger("goverse")
    logger.addHandler(writer)
    stream.close()

    logger.warning("a line after the stream was closed")
    writer.close()

    assert not writer.waiting()


@pytest.mark.requirement("OBS-1")
def test_process_metrics_include_memory_processor_time_and_release() -> None:
    registry = CollectorRegistry()

    register_process_metrics(registry, version="1.2.3")

    text = generate_latest(registry).decode()
    assert 'goverse_build_info{python="3.' in text
    assert 'version="1.2.3"' in text
    for name in ("process_resident_memory_bytes", "process_cpu_seconds_total", "python_gc_collections_total"):
        assert f"\n{name}" in text


SHOP = {"shop": {"handlers": ["own"], "level": "INFO"}}


def by_dict(**more: object) -> Callable[[], None]:
    """Return a function that configures logging with ``dictConfig``, as an application would."""
    handlers = {"own": {"class": "logging.NullHandler"}}
    config = {"version": 1, "handlers": handlers, "loggers": SHOP} | more
    return lambda: logging.config.dictConfig(config)


@pytest.mark.parametrize(
    "configuring",
    [
        pytest.param(by_dict(), id="existing loggers disabled"),
        pytest.param(by_dict(disable_existing_loggers=False), id="existing loggers kept"),
        pytest.param(by_dict(root={"handlers": ["own"], "level": "ERROR"}), id="a root handler"),
        pytest.param(lambda: logging.basicConfig(force=True, level=logging.CRITICAL), id="basicConfig"),
        pytest.param(lambda: logging.disable(logging.CRITICAL), id="everything disabled"),
        pytest.param(logging.getLogger().handlers.clear, id="handlers removed"),
        pytest.param(logging.shutdown, id="handlers closed"),
    ],
)
@pytest.mark.parametrize("first", ["application", "goverse"])
@pytest.mark.requirement("OBS-3")
def test_an_application_cannot_silence_goverse(configuring: Callable[[], None], first: str) -> None:
    stream, gate, node = io.StringIO(), logging.getLogger("goverse.gate"), logging.getLogger("goverse.node")
    if first == "application":
        configuring()
        logging.disable(logging.NOTSET)  # undo earlier configuration: GoVerse is configured last
        configure("json", "info", stream=stream)
    else:
        configure("json", "info", stream=stream)
        gate.info("before", extra={"request_id": "r1"})
        configuring()
        logging.getLogger("goverse.node.late")
        adopt()
    gate.info("serving", extra={"request_id": "r2"})
    gate.debug("too much")
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        node.exception("a method failed")
    logging.getLogger("goverse.node.late").warning("late")

    found = [line for line in objects(stream) if line["event"] != "before"]
    assert [line["event"] for line in found] == ["serving", "a method failed", "late"]
    assert found[0]["request_id"] == "r2"
    assert "ZeroDivisionError" in str(found[1]["exception"])


def test_an_application_that_names_a_logger_of_goverse_sets_its_level() -> None:
    stream = io.StringIO()
    configure("json", "info", stream=stream)
    logging.config.dictConfig({"version": 1, "loggers": {"goverse.store": {"level": "ERROR"}}})
    logging.getLogger("goverse.store").warning("quiet")
    logging.getLogger("goverse.store").error("loud")
    assert [line["event"] for line in objects(stream)] == ["loud"]


def test_records_of_goverse_reach_other_handlers_once_and_the_terminal_never_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream, tracker = io.StringIO(), io.StringIO()
    configure("json", "info", stream=stream)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    logging.basicConfig(force=True, handlers=[logging.StreamHandler(sys.stderr), logging.StreamHandler(tracker)])
    logging.getLogger("goverse.gate").error("once")
    logging.getLogger("shop").error("from the shop")
    assert [line["event"] for line in objects(stream)] == ["once"]
    assert tracker.getvalue().splitlines() == ["ERROR:goverse.gate:once", "ERROR:shop:from the shop"]
    assert cast("io.StringIO", sys.stderr).getvalue().splitlines() == ["ERROR:shop:from the shop"]


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_values_chosen_by_clients_are_truncated(log_format: LogFormat) -> None:
    stream = io.StringIO()
    configure(log_format, "info", stream=stream)
    huge = "x" * 1_000_000
    logging.getLogger("goverse.wire").warning("hello from %s", huge, extra={"peer": huge, "ids": [huge] * 3})
    try:
        raise ValueError(huge)
    except ValueError:
        logging.getLogger("goverse.node").exception("a method failed", extra={"request_id": huge})
    written = "\n".join(lines(stream))
    assert len(written) < 128_000
    assert "(cut)" in written


FORGED = "x\n2026-01-01T00:00:00Z [error    ] store failed\r\x1b[2J\x9b31m\u2028\u202e"


@pytest.mark.parametrize("logger", ["shop", "goverse.gate"])
def test_text_escapes_control_characters_so_that_no_message_imitates_a_line(logger: str) -> None:
    stream = io.StringIO()
    configure("text", "info", stream=stream)
    logging.getLogger(logger).info(FORGED, extra={"path": FORGED, "who": [FORGED]})
    (line,) = lines(stream)
    assert "\\n2026" in line
    assert line.isprintable()


def test_no_line_of_a_traceback_in_text_imitates_a_record() -> None:
    stream = io.StringIO()
    configure("text", "info", stream=stream)
    try:
        raise RuntimeError(FORGED)
    except RuntimeError:
        logging.getLogger("goverse.node").exception("a method failed")
    first, *rest = lines(stream)
    assert "a method failed" in first
    assert len(rest) > 3
    assert all(line.startswith("    ") and line.isprintable() for line in rest)
    assert "RuntimeError" in stream.getvalue()


def test_a_traceback_in_text_is_a_plain_one() -> None:
    stream = io.StringIO()
    configure("text", "info", stream=stream)
    try:
        raise RuntimeError("no")
    except RuntimeError:
        logging.getLogger("goverse.node").exception("a method failed")
    text = "\n".join(lines(stream))
    assert "Traceback (most recent call last)" in text
    assert "╭" not in text


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_record_is_truncated_whatever_an_exception_holds(form: LogFormat) -> None:
    stream = io.StringIO()
    configure(form, "info", stream=stream)
    try:
        try:
            raise ValueError("from outside " * 1_000_000)
        except ValueError as cause:
            raise TypeError("short") from cause
    except TypeError:
        logging.getLogger("app").exception("failed " * 1_000_000, extra={"body": "x" * 10_000_000})

    found = "\n".join(lines(stream))
    assert "from outside" in found
    assert "(cut)" in found
    assert len(found) < 200_000
