"""Sagas inside a turn: ``Object.saga``. The block collects the steps; its end adds the saga to the turn's commit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, ParamSpec, Self

from goverse.errors import GoverseError
from goverse.limits import SAGA_NAME_BYTES_MAX, SAGA_STEPS_MAX
from goverse.model.notes import checked_name
from goverse.model.sagas import Saga as SagaPlan
from goverse.model.sagas import SagaCall
from goverse.objects.outcome import Outcome
from goverse.objects.sending import ATTEMPTS, EXPIRES, call_of, options_of, then_method, turn_of

P = ParamSpec("P")

_UNDO_EXPIRES_MS: Final = 0


class Step:
    """A step of a saga, as ``Saga.step`` returns it."""

    __slots__ = ("_position", "_saga")

    def __init__(self, saga: Saga, position: int) -> None:
        """Describe step ``position`` of ``saga``."""
        self._saga = saga
        self._position = position

    def undo(self, method: Callable[P, Awaitable[Any]], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Name the call that undoes this step. It is sent if a later step does not take effect.

        It never expires. If it cannot take effect, it is held until an operator retries or skips it.

        Raises:
            TypeError: ``method`` is not an exported method, or the arguments do not fit it.
            InvalidArguments: an argument does not have its declared type.
            GoverseError: the step has an undo already, or the block has ended.
        """
        self._saga.add_undo(self._position, method, args, kwargs)


class Stepping:
    """Adds one step with the options of ``Saga.stepping``."""

    __slots__ = ("_attempts", "_expires_ms", "_saga")

    def __init__(self, saga: Saga, expires_ms: int, attempts: int) -> None:
        """Add the step to ``saga``."""
        self._saga = saga
        self._expires_ms = expires_ms
        self._attempts = attempts

    def __call__(self, method: Callable[P, Awaitable[Any]], /, *args: P.args, **kwargs: P.kwargs) -> Step:
        """Add a step that calls ``method`` with these arguments; see ``Saga.step``."""
        return self._saga.add(method, args, kwargs, self._expires_ms, self._attempts)


class Saga:
    """Steps that take effect all, or are undone; see ``Object.saga``.

    Attributes:
        id: the id of the saga, once the block has ended; its outcome has it as well.
    """

    __slots__ = ("_calls", "_closed", "_name", "_owner", "_then", "_turn", "_undos", "id")

    def __init__(self, owner: Any, name: str | None, then: Callable[[Outcome[Any]], object] | None) -> None:
        """Collect the steps of a saga of the object ``owner``."""
        self._owner = owner
        self._name = "" if name is None else checked_name(name, "a saga", SAGA_NAME_BYTES_MAX)
        self._then = "" if then is None else then_method(owner, then)
        self._turn = turn_of(owner, "saga")
        self._calls: list[SagaCall] = []
        self._undos: list[SagaCall | None] = []
        self._closed = True
        self.id = ""

    def step(self, method: Callable[P, Awaitable[Any]], /, *args: P.args, **kwargs: P.kwargs) -> Step:
        """Add a step: a reliable call of ``method`` with these arguments, sent when the step before has succeeded.

        Raises:
            TypeError: ``method`` is not an exported method, or the arguments do not fit it.
            InvalidArguments: an argument does not have its declared type.
            GoverseError: the block has ended, or the saga has 100 steps already.
        """
        return self.stepping()(method, *args, **kwargs)

    def stepping(self, *, expires: timedelta = EXPIRES, attempts: int = ATTEMPTS) -> Stepping:
        """Return a function that adds one step with options; they mean what they mean for ``Object.sending``.

        >>> saga.stepping(expires=timedelta(minutes=5))(bank.charge, cents=500).undo(bank.refund, cents=500)

        Raises:
            TypeError, ValueError: an option has the wrong type, or is out of range.
        """
        options = options_of(self._owner, expires=expires, attempts=attempts)
        return Stepping(self, options.expires_ms, options.attempts)

    def add(self, method: Any, args: tuple[Any, ...], kwargs: dict[str, Any], expires_ms: int, attempts: int) -> Step:
        """Add a step; ``Saga.step`` has the types."""
        self._check_open()
        if len(self._calls) == SAGA_STEPS_MAX:
            raise GoverseError(f"a saga of {self._owner.key} has more than {SAGA_STEPS_MAX} steps; start several sagas")
        self._calls.append(SagaCall(*call_of(self._owner, method, args, kwargs), expires_ms, attempts))
        self._undos.append(None)
        return Step(self, len(self._calls) - 1)

    def add_undo(self, position: int, method: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Add the undo of a step; ``Step.undo`` has the types."""
        self._check_open()
        if self._undos[position] is not None:
            raise GoverseError(f"{self._calls[position].name} has an undo already; a step has one")
        call = call_of(self._owner, method, args, kwargs)
        self._undos[position] = SagaCall(*call, _UNDO_EXPIRES_MS, ATTEMPTS)

    def _check_open(self) -> None:
        if self._closed:
            raise GoverseError(
                f"a step was added to a saga of {self._owner.key} outside of its block; write async with self.saga() "
                "as saga: and add the steps inside"
            )

    async def __aenter__(self) -> Self:
        """Begin to collect steps."""
        self._closed = False
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Start the saga with the commit of the turn, unless the block raised an exception."""
        self._closed = True
        if kind is not None:
            return
        if not self._calls:
            raise ValueError(f"a saga of {self._owner.key} has no steps")
        plan = SagaPlan(self._then, tuple(self._calls), tuple(self._undos))
        self.id = self._turn.start_saga(self._name, plan)
