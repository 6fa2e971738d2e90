"""Functions of an application that run when its process starts and when it stops.

    @on_start    runs before the first call is served
    @on_stop     runs after the last call has ended and is durable

They open and close what the objects of one process share: a connection pool, an HTTP client. Both run once per process
and on its event loop, so a pool made by ``@on_start`` can be used by every object. A process that reloads is a new
process. A gate of a cluster imports no application, so only nodes run these functions.

Rules:

1. ``@on_start`` functions run one after the other: modules in the order of their import, inside a module from top to
   bottom. ``@on_stop`` functions run in the opposite order.
2. The first ``@on_start`` function that fails stops the start with ``StartFailed``. Nothing has been served by then.
3. ``@on_stop`` functions run also after a failed start, because an earlier ``@on_start`` function may have opened
   something. They share one time limit. One that fails or exceeds its share is logged, and the next one runs.

Searched for these functions are: the module that is served, every module that defines a served class, and the other
imported modules of the same top-level package. For a single file these are the imported modules beside it. Test modules
(``test_*.py``, ``conftest.py``) count only where they define a served class themselves.
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
    """Run a function of the application once per process, before the first call is served.

    >>> pool: asyncpg.Pool | None = None
    >>> @on_start
    ... async def open_pool() -> None:
    ...     global pool
    ...     pool = await asyncpg.create_pool(os.environ["SHOP_DATABASE"])

    The function takes no parameters, and is plain or ``async``; a plain one must not block. If it raises, the process
    does not start.

    Raises:
        DefinitionError: it is not a function of a module, or it has parameters.
    """
    _mark(function, _START, "@on_start")
    return function


def on_stop(function: Function) -> Function:
    """Run a function of the application once per process, after the last call has ended and is durable.

    The function takes no parameters, and is plain or ``async``; a plain one must not block. All of them together have
    ``node.hook_timeout_s``.

    Raises:
        DefinitionError: it is not a function of a module, or it has parameters.
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
    """The functions of one application that its process runs at its start and at its end."""

    def __init__(self, starts: Iterable[Hook] = (), stops: Iterable[Hook] = ()) -> None:
        """Take the functions in the order in which a start runs them."""
        self._starts = tuple(starts)
        self._stops = tuple(stops)

    @classmethod
    def of(cls, classes: Iterable[type[Any]], module: ModuleType | None = None) -> ProcessHooks:
        """Find the functions of the application that serves ``classes``, and ``module`` if it is not theirs."""
        found = list(_functions(_modules(classes, module)))
        return cls(
            (function for function in found if hasattr(function, _START)),
            (function for function in found if hasattr(function, _STOP)),
        )

    async def start(self, interrupted: Future[Any] | None = None) -> bool:
        """Run the ``@on_start`` functions; return False if ``interrupted`` was done before they had ended.

        Raises:
            StartFailed: one of them failed; names it and shows where.
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
        """Run the ``@on_stop`` functions. A failure is logged; together they take at most ``timeout_s``."""
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
    """Call a hook; an exit or a cancellation of its own making is a failure like any other."""
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
    """Cancel a hook, and leave it alone if it does not end soon after."""
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
    """Return the marked functions that ``modules`` show, in the order of a start."""
    order = {name: place for place, name in enumerate(sys.modules)}
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
    beside = {place for root in roots if (place := _folder_of_single_file(root)) is not None}
    found = dict(own)
    for name, other in list(sys.modules.items()):
        with suppress(Exception):  # a module may be anything, and raise at any access
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
