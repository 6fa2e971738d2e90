"""Functions of an application that run when its process starts and stops.

    @on_start    runs before the first call is served
    @on_stop     runs after the last call has ended and is durable

They open and close resources that all objects of a process share, for example a connection pool or an HTTP client.
They run once per process, on its event loop, so every object can use a pool that ``@on_start`` opened. A reload starts
a new process. Gates of a cluster do not import the application, so only nodes run these functions.

Rules:

1. ``@on_start`` functions run one after the other: modules in import order, and from top to bottom in a module.
   ``@on_stop`` functions run in the opposite order.
2. If an ``@on_start`` function fails, the start ends with ``StartFailed`` before any call is served.
3. ``@on_stop`` functions also run after a failed start, because an earlier ``@on_start`` function may have opened
   resources. They share one time limit. A function that fails or exceeds its share is logged, and the next one runs.

GoVerse searches the served module, all modules that define a served class, and the other imported modules of the same
top-level package (for a single file: the imported modules beside it). Test modules (``test_*.py``, ``conftest.py``) are
searched only if they define a served class themselves.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
import sysconfig
from asyncio import Future, Task
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Final, TypeVar

from goverse.errors import DefinitionError, StartFailed
from goverse.limits import CANCEL_GRACE_S, PROCESS_HOOK_WARNING_S
from goverse.objects.application import trimmed_traceback
from goverse.objects.object import Object

Hook = Callable[[], Awaitable[None] | None]
Function = TypeVar("Function", bound=Hook)

_START: Final = "__goverse_on_start__"
_STOP: Final = "__goverse_on_stop__"
_INSTALLED: Final = tuple(Path(path) for path in set(sysconfig.get_paths().values()))

logger = logging.getLogger("goverse.application")


def on_start(function: Function) -> Function:
    """Mark a function to run once per process, before the first call is served.

    >>> pool: asyncpg.Pool | None = None
    >>> @on_start
    ... async def open_pool() -> None:
    ...     global pool
    ...     pool = await asyncpg.create_pool(os.environ["SHOP_DATABASE"])

    The function takes no parameters and may be ``async``; a plain function must not block. If it raises, the process
    does not start.

    Raises:
        DefinitionError: it is not a module-level function, it has parameters, or it is a generator.
    """
    _mark(function, _START, "@on_start")
    return function


def on_stop(function: Function) -> Function:
    """Mark a function to run once per process, after the last call has ended and is durable.

    The function takes no parameters and may be ``async``; a plain function must not block. All ``@on_stop`` functions
    together have ``node.hook_timeout_s`` seconds.

    Raises:
        DefinitionError: it is not a module-level function, it has parameters, or it is a generator.
    """
    _mark(function, _STOP, "@on_stop")
    return function


def _mark(function: object, attribute: str, decorator: str) -> None:
    if not inspect.isfunction(function):
        raise DefinitionError(f"{decorator} marks a function of a module, not {function!r}")
    name = f"{function.__module__}.{function.__qualname__}"
    if "." in function.__qualname__:
        raise DefinitionError(f"{decorator} marks a function of a module; {name} is inside a class or a function")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise DefinitionError(f"{name} is a generator; write one function with @on_start and another with @on_stop")
    if inspect.signature(function).parameters:
        raise DefinitionError(f"{name} has parameters; a function with {decorator} is called without arguments")
    setattr(function, attribute, True)


class ProcessHooks:
    """The ``@on_start`` and ``@on_stop`` functions of one application."""

    def __init__(self, starts: Iterable[Hook] = (), stops: Iterable[Hook] = ()) -> None:
        """Both in the order of a start; ``stop`` reverses its functions."""
        self._starts = tuple(starts)
        self._stops = tuple(stops)

    @classmethod
    def of(cls, classes: Iterable[type[Any]], module: ModuleType | None = None) -> ProcessHooks:
        """Find the functions of the application that defines ``classes``; also search ``module``."""
        found = list(_functions(_modules(classes, module)))
        return cls(
            (function for function in found if hasattr(function, _START)),
            (function for function in found if hasattr(function, _STOP)),
        )

    async def start(self, interrupted: Future[Any] | None = None) -> bool:
        """Run the ``@on_start`` functions; return False if ``interrupted`` was done before they ended.

        Raises:
            StartFailed: a function failed; the message has its name and traceback.
        """
        for hook in self._starts:
            task = asyncio.get_running_loop().create_task(_call(hook))
            warning = _warn_while(task, hook)
            try:
                await asyncio.wait({task, interrupted} if interrupted else {task}, return_when="FIRST_COMPLETED")
            finally:
                warning.cancel()
                if not task.done():
                    await _abandon(task)
            if interrupted is not None and interrupted.done():
                return False
            failure = task.exception()
            if failure is not None:
                trace = trimmed_traceback(failure).rstrip()
                raise StartFailed(f"{_name(hook)} (@on_start) failed:\n{trace}") from failure
        return True

    async def stop(self, timeout_s: float) -> None:
        """Run the ``@on_stop`` functions within ``timeout_s`` seconds in total; failures are logged."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        for left, hook in zip(range(len(self._stops), 0, -1), reversed(self._stops), strict=True):
            task = loop.create_task(_call(hook))
            share_s = max(0.0, end - loop.time()) / left
            await asyncio.wait({task}, timeout=share_s)
            if not task.done():
                logger.error("an @on_stop function was cancelled: %s did not end within %.1f s", _name(hook), share_s)
                await _abandon(task)
            elif (failure := task.exception()) is not None:
                logger.error("an @on_stop function failed: %s", _name(hook), exc_info=failure)


async def _call(hook: Hook) -> None:
    """Call a hook; if it raises SystemExit or CancelledError itself, that is a failure like any other."""
    try:
        result = hook()
        if inspect.isawaitable(result):
            await result
    except SystemExit as error:
        raise RuntimeError(f"it called sys.exit({error.code!r})") from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise RuntimeError("it raised CancelledError") from error


async def _abandon(task: Task[None]) -> None:
    """Cancel a hook; if it does not end within ``CANCEL_GRACE_S``, stop waiting for it."""
    task.cancel()
    await asyncio.wait({task}, timeout=CANCEL_GRACE_S)
    if task.done() and not task.cancelled():
        task.exception()  # retrieved, so that asyncio does not report it a second time


def _warn_while(task: Task[None], hook: Hook) -> asyncio.TimerHandle:
    loop = asyncio.get_running_loop()

    def warn() -> None:
        if not task.done():
            logger.warning("the start waits for an @on_start function: %s", _name(hook))

    return loop.call_later(PROCESS_HOOK_WARNING_S, warn)


def _name(hook: Hook) -> str:
    return f"{hook.__module__}.{getattr(hook, '__qualname__', repr(hook))}"


def _functions(modules: Mapping[str, ModuleType]) -> list[Hook]:
    """Return the marked functions in ``modules``, in the order of a start."""
    order = {name: index for index, name in enumerate(sys.modules)}
    found = {
        value
        for module in modules.values()
        for value in vars(module).values()
        if isinstance(value, FunctionType) and (hasattr(value, _START) or hasattr(value, _STOP))
    }
    return sorted(found, key=lambda each: (order.get(each.__module__, -1), each.__code__.co_firstlineno))


def _modules(classes: Iterable[type[Any]], module: ModuleType | None) -> dict[str, ModuleType]:
    bases: list[type] = [base for each in classes for base in each.__mro__]
    names: set[str] = {base.__module__ for base in bases if issubclass(base, Object) and base is not Object}
    if module is not None:
        names.add(module.__name__)
    own = {name: sys.modules[name] for name in names if name in sys.modules}
    roots = {name.partition(".")[0] for name in own if not _is_test(name)}
    beside = {folder for root in roots if (folder := _folder_of_single_file(root)) is not None}
    found = dict(own)
    for name, other in list(sys.modules.items()):
        with suppress(Exception):  # entries of sys.modules can be any object and raise on attribute access
            if not _is_test(name) and (name.partition(".")[0] in roots or _is_beside(name, other, beside)):
                found[name] = other
    return found


def _is_test(name: str) -> bool:
    last = name.rpartition(".")[2]
    return last.startswith("test_") or last == "conftest"


def _folder_of_single_file(root: str) -> Path | None:
    module = sys.modules.get(root)
    file = getattr(module, "__file__", None)
    if file is None or hasattr(module, "__path__"):
        return None
    folder = Path(file).resolve().parent
    return None if folder in _INSTALLED else folder


def _is_beside(name: str, module: ModuleType, folders: set[Path]) -> bool:
    file = getattr(module, "__file__", None)
    return bool(folders) and file is not None and "." not in name and Path(file).resolve().parent in folders
