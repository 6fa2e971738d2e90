"""Fault injection for ``ObjectHost.fail``.

An exception or a ``Delay`` takes effect inside the turn: the host replaces the method in its own copy of the class's
spec, so the turn ends as if the method itself had raised or waited. A ``LostAnswer`` takes effect after the turn: its
effect is durable, and its caller, a test or another object, gets ``Timeout``.

The application's class is not changed, so hosts of other tests are not affected.
"""

from __future__ import annotations

import asyncio
import inspect
from asyncio import Future
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from goverse.errors import Timeout
from goverse.model.frames import Operation, Problem, Reply, Request
from goverse.model.keys import check_id
from goverse.model.near_names import advice
from goverse.model.records import ObjectSummary
from goverse.objects.registry import Registry
from goverse.objects.spec import MethodSpec, TypeSpec
from goverse.ports.link import Link, Readiness
from goverse.testing.checks import check_count, check_seconds, check_text, shown

_HOOK_OF: Final = {Operation.CREATE: "on_create", Operation.DELETE: "on_delete"}


@dataclass(frozen=True, slots=True)
class Delay:
    """A fault that delays the method by ``seconds``. The turn occupies its object during the delay, up to its deadline.

    Raises:
        TypeError: ``seconds`` is not a number.
        ValueError: ``seconds`` is negative or not finite.
    """

    seconds: float

    def __post_init__(self) -> None:
        """Check the number of seconds."""
        check_seconds("seconds", self.seconds, least=0.0)


@dataclass(frozen=True, slots=True)
class LostAnswer:
    """A fault that drops the answer: the call takes effect durably, but the caller gets ``Timeout``."""


class Fault:
    """An injected fault.

    Attributes:
        hits: the number of calls that failed so far.
    """

    def __init__(
        self,
        with_: Exception | type[Exception] | Delay | LostAnswer,
        *,
        times: int | None = None,
        object_id: str | None = None,
    ) -> None:
        """Create a fault; tests call ``ObjectHost.fail`` instead."""
        self.hits = 0
        self._with = with_
        self._left = times
        self._object_id = object_id

    def end(self) -> None:
        """Remove the fault; later calls succeed."""
        self._left = 0

    def _strikes(self, object_id: str) -> bool:
        """True if the fault applies to a call of this object, which is then counted."""
        if self._left == 0 or self._object_id not in (None, object_id):
            return False
        self.hits += 1
        if self._left is not None:
            self._left -= 1
        return True

    async def before(self, object_id: str) -> None:
        """Raise the exception or wait, if the fault is of this kind and applies to the call."""
        if isinstance(self._with, LostAnswer) or not self._strikes(object_id):
            return
        if isinstance(self._with, Delay):
            await asyncio.sleep(self._with.seconds)
        else:
            raise self._with if isinstance(self._with, Exception) else self._with()

    def loses(self, object_id: str) -> bool:
        """True if the fault drops the answer of this call."""
        return isinstance(self._with, LostAnswer) and self._strikes(object_id)


class Faults:
    """The faults of one host."""

    def __init__(self, registry: Registry) -> None:
        """Replace the specs in the host's ``registry`` by copies whose methods can be replaced."""
        self._specs: dict[str, TypeSpec] = {
            name: replace(spec, methods=dict(spec.methods), hooks=dict(spec.hooks))
            for name, spec in registry.types.items()
        }
        self._faults: dict[tuple[str, str], list[Fault]] = {}
        registry.types = self._specs

    def add(
        self,
        type_name: str,
        method: str,
        with_: Exception | type[Exception] | Delay | LostAnswer,
        *,
        times: int | None,
        object_id: str | None,
    ) -> Fault:
        """Inject a fault.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: the type is not served, has no such method, or ``times`` is less than 1.
            MalformedRequest: ``object_id`` is not a valid id.
        """
        _check_fault(with_)
        if times is not None:
            check_count("times", times)
        if object_id is not None:
            check_id(check_text("object_id", object_id))
        check_text("method", method)
        spec = self._specs.get(type_name)
        if spec is None:
            raise ValueError(f"this host does not serve {type_name}; it serves {', '.join(self._specs)}")
        if method not in spec.methods and method not in spec.hooks:
            known = ", ".join((*spec.methods, *spec.hooks))
            hint = advice(method, (*spec.methods, *spec.hooks), f"it has {known}")
            raise ValueError(f"{type_name} has no exported method or hook {method!r}; {hint}")
        fault = Fault(with_, times=times, object_id=object_id)
        target = (type_name, method)
        if target not in self._faults:
            self._faults[target] = []
            _make_faulty(spec.methods if method in spec.methods else spec.hooks, method, self._faults[target])
        self._faults[target].append(fault)
        return fault

    def lose(self, request: Request) -> Reply | None:
        """Return the reply with ``Timeout`` that replaces the answer if a fault drops it, else None."""
        key, method = request.key, _HOOK_OF.get(request.operation, request.method)
        for fault in self._faults.get((key.type, method), ()):
            if fault.loses(key.id):
                error = Timeout(f"{key}.{method}: the answer was lost; the call may have taken effect")
                return Reply(problem=Problem.of(error, request.request_id))
        return None


def _check_fault(with_: object) -> None:
    """Check that a value is a fault.

    Raises:
        TypeError: it is neither an exception nor ``Delay`` nor ``LostAnswer``, or an exception class that cannot be
            raised without arguments.
    """
    if isinstance(with_, Exception | Delay | LostAnswer):
        return
    described = shown(with_)
    if not (isinstance(with_, type) and issubclass(with_, Exception)):
        raise TypeError(
            f"with_ is {described}, which is not a fault; use an exception, for example "
            "with_=ConnectionError('the bank is away'), or Delay(seconds=0.2) or LostAnswer()"
        )
    try:
        with_()
    except Exception as error:
        raise TypeError(
            f"with_ is the class {with_.__name__}, which cannot be raised without arguments ({error}); use an "
            f"instance, for example with_={with_.__name__}(...)"
        ) from error


def _make_faulty(methods: Mapping[str, MethodSpec], name: str, faults: list[Fault]) -> None:
    assert isinstance(methods, dict)
    spec = methods[name]
    methods[name] = replace(spec, function=partial(_run, spec.function, faults), is_async=True)


async def _run(function: Callable[..., Any], faults: list[Fault], target: Any, /, **arguments: Any) -> Any:
    for fault in faults:
        await fault.before(target.id)
    result = function(target, **arguments)
    return await result if inspect.isawaitable(result) else result


class FaultyLink:
    """The link that the test and the objects of a host use: it forwards requests to ``node`` and can drop answers."""

    def __init__(self, node: Link, faults: Faults) -> None:
        self._node = node
        self._faults = faults

    def submit(self, request: Request) -> Future[Reply]:
        """Send a request; see ``goverse.ports.link.Link``."""
        answer = self._node.submit(request)
        if request.operation is Operation.READ:
            return answer
        passed_on: Future[Reply] = asyncio.get_running_loop().create_future()

        def deliver(answered: Future[Reply]) -> None:
            if not passed_on.done():
                passed_on.set_result(self._faults.lose(request) or answered.result())

        answer.add_done_callback(deliver)
        passed_on.add_done_callback(lambda waited: answer.cancel() if waited.cancelled() else None)
        return passed_on

    async def list(
        self, namespace: str, type_name: str, *, prefix: str, after: str | None, limit: int
    ) -> Sequence[ObjectSummary]:
        """List objects; see ``goverse.ports.link.Link``."""
        return await self._node.list(namespace, type_name, prefix=prefix, after=after, limit=limit)

    def readiness(self) -> Readiness:
        """Return the readiness of the node; see ``goverse.ports.link.Link``."""
        return self._node.readiness()
