"""`@on_start` and `@on_stop`: the search for functions, the order in which they run, and failures."""

import asyncio
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from goverse import DefinitionError, Object, on_start, on_stop
from goverse.errors import StartFailed
from goverse.objects.application import load_application
from goverse.objects.process_hooks import ProcessHooks

pytestmark = pytest.mark.requirement("OBJ-15")

STEPS: list[str] = []
"""A log of the functions that ran, in order."""

COUNTER = """
from goverse import Object, call, on_start, on_stop
from tests.unit.objects.test_process_hooks import STEPS

class Counter(Object):
    value: int = 0
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Run the test in an empty folder; remove the modules that it imports from there."""
    STEPS.clear()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(dedent(text), encoding="utf-8")


def hooks_of(target: str) -> ProcessHooks:
    application = load_application(target)
    return ProcessHooks.of((spec.cls for spec in application.registry), application.module)


async def test_functions_run_in_order_and_stop_functions_in_reverse_order() -> None:
    write(
        "app.py",
        COUNTER
        + """
@on_start
async def open_pool() -> None:
    STEPS.append("open pool")

@on_start
def open_client() -> None:
    STEPS.append("open client")

@on_stop
def close_pool() -> None:
    STEPS.append("close pool")

@on_stop
async def close_client() -> None:
    STEPS.append("close client")
""",
    )
    hooks = hooks_of("app.py")

    assert await hooks.start()
    await hooks.stop(1.0)

    assert STEPS == ["open pool", "open client", "close client", "close pool"]


@pytest.mark.parametrize("target", ["shop", "shop:SERVED", "shop.counter"])
async def test_functions_of_every_imported_module_of_the_package_run_once(target: str) -> None:
    write("shop/__init__.py", "from shop.counter import Counter\nSERVED = [Counter]\n")
    write(
        "shop/database.py",
        "from tests.unit.objects.test_process_hooks import STEPS\nfrom goverse import on_start\n\n"
        "@on_start\nasync def open_pool() -> None:\n    STEPS.append('pool')\n",
    )
    write("shop/counter.py", "from shop import database\nfrom shop.database import open_pool\n" + COUNTER)
    write("shop/test_shop.py", "raise AssertionError('a test is not a part of the application')\n")

    await hooks_of(target).start()

    assert STEPS == ["pool"]


async def test_functions_of_a_module_beside_a_single_file_run() -> None:
    write("stock_app.py", "import stock_pool\n" + COUNTER)
    write(
        "stock_pool.py",
        "from tests.unit.objects.test_process_hooks import STEPS\nfrom goverse import on_start\n\n"
        "@on_start\ndef open_pool() -> None:\n    STEPS.append('pool')\n",
    )

    await hooks_of("stock_app.py").start()

    assert STEPS == ["pool"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("raise ConnectionError('the database is away')", "ConnectionError: the database is away"),
        ("raise SystemExit(3)", "it called sys.exit(3)"),
        ("import asyncio; raise asyncio.CancelledError", "it raised CancelledError"),
    ],
)
async def test_a_failed_start_names_the_function_and_still_runs_stop_functions(body: str, told: str) -> None:
    write(
        "app.py",
        COUNTER
        + f"""
@on_start
def first() -> None:
    STEPS.append("open")

@on_start
async def second() -> None:
    {body}

@on_start
def third() -> None:
    STEPS.append("never")

@on_stop
def close() -> None:
    STEPS.append("close")
""",
    )
    hooks = hooks_of("app.py")

    with pytest.raises(StartFailed) as caught:
        await hooks.start()
    await hooks.stop(1.0)

    assert "app.second (@on_start) failed" in caught.value.detail
    assert told in caught.value.detail
    assert STEPS == ["open", "close"]


async def _never() -> None:
    STEPS.append("begun")
    try:
        await asyncio.Event().wait()
    finally:
        STEPS.append("cancelled")


async def test_a_stop_during_the_start_cancels_what_runs() -> None:
    interrupted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def is_interrupted() -> None:
        interrupted.set_result(None)
        await _never()

    hooks = ProcessHooks([is_interrupted, lambda: STEPS.append("later")])

    assert await hooks.start(interrupted) is False
    assert STEPS == ["begun", "cancelled"]


async def test_a_stop_function_that_never_ends_or_fails_leaves_time_for_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fails() -> None:
        raise RuntimeError("broken")

    async def is_stubborn() -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                STEPS.append("refused to end")
                if STEPS.count("refused to end") > 1:
                    raise

    async def closes() -> None:
        STEPS.append("closed")

    await ProcessHooks(stops=[closes, fails, is_stubborn, _never]).stop(3.0)

    assert STEPS == ["begun", "cancelled", "refused to end", "closed"]
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "an @on_stop function was cancelled",
        "an @on_stop function was cancelled",
        "an @on_stop function failed",
    ]


async def test_a_slow_start_logs_the_function_that_it_waits_for(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("goverse.objects.process_hooks.PROCESS_HOOK_WARNING_S", 0.0)
    warned = asyncio.Event()

    def note(_record: logging.LogRecord) -> bool:
        warned.set()
        return True

    caplog.handler.addFilter(note)

    async def waits_for_the_warning() -> None:
        await asyncio.wait_for(warned.wait(), 30)

    await ProcessHooks([waits_for_the_warning]).start()

    assert "waits_for_the_warning" in caplog.text


def _generator() -> Any:
    yield


def _with_parameters(_pool: str) -> None: ...


@pytest.mark.parametrize("decorator", [on_start, on_stop])
@pytest.mark.parametrize(
    ("function", "complaint"),
    [(_generator, "is a generator"), (_with_parameters, "has parameters"), (Object, "not <class"), (Path.cwd, "not <")],
)
def test_a_function_that_cannot_be_a_hook_is_refused(
    decorator: Callable[[Any], Any], function: Any, complaint: str
) -> None:
    with pytest.raises(DefinitionError, match=complaint):
        decorator(function)


def test_a_function_inside_another_is_refused_because_it_would_never_run() -> None:
    with pytest.raises(DefinitionError, match="inside a class or a function"):

        @on_start
        def hidden() -> None: ...  # pyright: ignore[reportUnusedFunction]
