"""Sending of reliable calls inside a turn: ``Object.send``, ``sending``, ``cancel`` and ``outbox``.

A reliable call leaves with the commit of the turn that sends it, or not at all. Its arguments are checked and encoded
when it is sent, like those of an awaited call. The turn (``goverse.objects.context.Turn``) keeps it until the commit.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MethodType
from typing import Any, Final, Generic, ParamSpec, TypeVar, cast, get_args

from goverse.errors import GoverseError
from goverse.limits import CALL_ID_BYTES_MAX
from goverse.model.call_ids import GENERATED_ID_PREFIX
from goverse.model.effects import OnFailure, PendingCall, SentCall
from goverse.model.keys import ObjectKey
from goverse.model.notes import NOTE_PREFIX
from goverse.objects.context import Turn, current_turn
from goverse.objects.declaration import HOOKS
from goverse.objects.outcome import Outcome
from goverse.objects.reference import encode_by_name, referenced_method
from goverse.objects.spec import MethodSpec, TypeSpec

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

EXPIRES: Final = timedelta(days=7)
ATTEMPTS: Final = 20
BACKOFF: Final = (timedelta(milliseconds=200), timedelta(minutes=5))

_TIME_MAX: Final = timedelta(days=3_650)  # ten years
_ATTEMPTS_MAX: Final = 1_000_000
_MS: Final = timedelta(milliseconds=1)
_ON_FAILURE: Final = get_args(OnFailure)
_NOT_SENT: Final = {
    "create": "send a call instead: the first call of a method creates the object",
    "delete": "send a call to a method of an object that deletes it",
}


@dataclass(frozen=True, slots=True)
class Sent(Generic[R_co]):
    """A reliable call that a turn has sent. It leaves with the turn's commit.

    Attributes:
        id: the id of the call, for ``self.cancel``.
        receiver: the object that is called.
        method: the method that is called.
    """

    id: str
    receiver: ObjectKey
    method: str


@dataclass(frozen=True, slots=True)
class OutboxCall:
    """A reliable call of the object whose outcome it has not learnt yet.

    Attributes:
        id: the id of the call.
        receiver: the object that is called.
        method: the method that is called.
        state: ``pending``, or why it is not to run any more: ``cancelled``, ``expired``, ``skipped`` or ``dead``. If
            it took effect before, its outcome says so.
        sent_at: the time of the turn that sent it.
    """

    id: str
    receiver: ObjectKey
    method: str
    state: str
    sent_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The checked options of a send; times are in milliseconds. The class that users see is ``Object.sending``."""

    then: str = ""
    delay_ms: int = 0
    at_ms: int = 0
    expires_ms: int = EXPIRES // _MS
    attempts: int = ATTEMPTS
    first_ms: int = BACKOFF[0] // _MS
    longest_ms: int = BACKOFF[1] // _MS
    on_failure: OnFailure = "dead_letter"
    id: str = ""
    keep_ms: int = 0


PLAIN: Final = Options()


class Sending:
    """Sends one call with the options of ``Object.sending``."""

    __slots__ = ("_options", "_sender")

    def __init__(self, sender: Any, options: Options) -> None:
        """Send for the object ``sender``."""
        self._sender = sender
        self._options = options

    def __call__(self, method: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> Sent[R]:
        """Send a call of ``method`` with these arguments; see ``Object.send``."""
        return send(self._sender, method, args, kwargs, self._options)


class SendingThen(Generic[R]):
    """Sends one call whose outcome is given to a method; the result of the call is what that method takes."""

    __slots__ = ("_options", "_sender")

    def __init__(self, sender: Any, options: Options) -> None:
        """Send for the object ``sender``."""
        self._sender = sender
        self._options = options

    def __call__(self, method: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> Sent[R]:
        """Send a call of ``method`` with these arguments; see ``Object.send``."""
        return send(self._sender, method, args, kwargs, self._options)


def send(
    sender: Any, method: object, positional: tuple[Any, ...], named: Mapping[str, Any], options: Options
) -> Sent[Any]:
    """Send a reliable call with the commit of the running turn.

    Raises:
        GoverseError: the code runs outside a turn, or the turn refuses the call.
        TypeError: ``method`` is not a method that can be sent, or the arguments do not fit it.
        InvalidArguments: an argument does not have its declared type.
    """
    turn = turn_of(sender, "send")
    receiver, name, body = call_of(sender, method, positional, named)
    now_ms = turn.now_ms()
    due_ms = options.at_ms or (now_ms + options.delay_ms if options.delay_ms else 0)
    sent = turn.send_call(
        SentCall(
            id=options.id,
            receiver=receiver,
            method=name,
            body=body,
            then=options.then,
            expires_ms=max(due_ms, now_ms) + options.expires_ms,
            due_ms=due_ms,
            attempts_max=options.attempts,
            first_ms=options.first_ms,
            longest_ms=options.longest_ms,
            on_failure=options.on_failure,
            keep_ms=options.keep_ms,
        )
    )
    return Sent(sent.id, sent.receiver, sent.method)


def cancel(sender: Any, call: Sent[Any] | OutboxCall | str) -> bool:
    """Cancel a pending call with the commit of the running turn; False if it is not pending."""
    call_id = call if isinstance(call, str) else call.id
    return turn_of(sender, "cancel").cancel_call(call_id)


def outbox(sender: Any) -> tuple[OutboxCall, ...]:
    """Return the pending calls of the object, in order, as the running turn leaves them."""
    return tuple(map(_shown, turn_of(sender, "outbox").pending_calls()))


def _shown(pending: PendingCall) -> OutboxCall:
    call = pending.call
    sent_at = datetime.fromtimestamp(call.sent_ms / 1000, UTC)
    return OutboxCall(call.id, call.receiver, call.method, pending.void or "pending", sent_at)


def turn_of(sender: Any, what: str) -> Turn:
    """Return the running turn, for the member ``what`` of an object.

    Raises:
        GoverseError: no turn is running.
    """
    turn = current_turn.get()
    if turn is None:
        raise GoverseError(
            f"self.{what} of {sender.key} was used outside a turn, so there is no commit that it could join; use it "
            "inside an exported method or a hook"
        )
    return turn


# --- the call ---------------------------------------------------------------------------------------------------------


def call_of(
    sender: Any, method: object, positional: tuple[Any, ...], named: Mapping[str, Any]
) -> tuple[ObjectKey, str, bytes]:
    """Return receiver, method and encoded arguments of a call.

    Raises:
        TypeError: ``method`` is not an exported method of a reference or of ``sender`` itself.
    """
    found = referenced_method(method)
    if found is None:
        own = own_method(sender, method, "send")
        return sender.key, own.name, own.arguments.encode(positional, named)
    key, name, spec = found
    if spec is not None:
        return key, name, spec.arguments.encode(positional, named)
    if name in HOOKS:
        raise TypeError(f"{key.type}.{name} is a hook, which only GoVerse runs; send a call of an exported method")
    if positional:
        raise TypeError(f"{key.type}.{name} is called by name, so its arguments must be keywords: send(…, name=value)")
    return key, name, encode_by_name(key, name, named)


def own_method(owner: object, method: object, what: str) -> MethodSpec:
    """Return the spec of an exported method of the object ``owner``, given as ``self.method``.

    Raises:
        TypeError: ``method`` is something else. The message says what to pass instead.
    """
    spec = TypeSpec.of(type(owner))
    if not isinstance(method, MethodType) or method.__self__ is not owner:
        raise TypeError(_no_method(method, what))
    function, name = method.__func__, method.__func__.__name__
    found = spec.methods.get(name)
    if found is not None and found.function is function:
        return found
    for each in spec.methods.values():  # a decorator may have changed the name of the function
        if each.function is function:
            return each
    if name in HOOKS:
        raise TypeError(f"{spec.name}.{name} is a hook, which only GoVerse runs; name a method with @call or @handler")
    if name in _NOT_SENT:
        raise TypeError(f"self.{name} cannot be sent; {_NOT_SENT[name]}")
    if found is not None:
        raise TypeError(f"{spec.name} overrides {name}, so super().{name} cannot be named here; use self.{name}")
    raise TypeError(f"{spec.name}.{name} is not exported; mark it with @handler, or with @call")


def _no_method(given: object, what: str) -> str:
    if inspect.iscoroutine(given):
        given.close()
        return (
            f"self.{what} was given a call that has been made already; pass the method, and its arguments after it: "
            f"self.{what}(ref.method, name=value)"
        )
    return (
        f"self.{what} was given {given!r}; pass a method of a reference, as in self.ref(Account, id).deposit, or an "
        "exported method of this object, as in self.deposit"
    )


# --- the options ------------------------------------------------------------------------------------------------------


def then_method(owner: Any, method: object) -> str:
    """Return the name of the method that receives the outcome.

    Raises:
        TypeError: it is not an exported method of this object with the one parameter ``outcome: Outcome[...]``.
    """
    found = own_method(owner, method, "sending(then=…)")
    name = f"{type(owner).__name__}.{found.name}"
    if not found.takes_outcome:
        raise TypeError(
            f"then={name} does not take an outcome; declare async def {found.name}(self, outcome: Outcome[...])"
        )
    if found.readonly:
        raise TypeError(f"then={name} is readonly; declare it without readonly=True, because its turn commits")
    return found.name


def options_of(
    owner: Any,
    *,
    then: Callable[[Outcome[Any]], object] | None = None,
    delay: timedelta | None = None,
    at: datetime | None = None,
    expires: timedelta = EXPIRES,
    attempts: int = ATTEMPTS,
    backoff: tuple[timedelta, timedelta] = BACKOFF,
    on_failure: OnFailure = "dead_letter",
    call_id: str | None = None,
    keep: timedelta = timedelta(0),
) -> Options:
    """Return the options after checks.

    Raises:
        TypeError, ValueError: an option has the wrong type, or is out of range.
    """
    if delay is not None and at is not None:
        raise ValueError("sending has both delay and at; give one of them")
    if isinstance(attempts, bool) or not isinstance(attempts, int):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"attempts is {attempts!r}; use a whole number")
    if not 1 <= attempts <= _ATTEMPTS_MAX:
        raise ValueError(f"attempts is {attempts}; it must be 1 to {_ATTEMPTS_MAX}")
    if on_failure not in _ON_FAILURE:
        raise ValueError(f"on_failure is {on_failure!r}; it must be one of {', '.join(map(repr, _ON_FAILURE))}")
    first, longest = _backoff(backoff)
    return Options(
        then="" if then is None else then_method(owner, then),
        delay_ms=0 if delay is None else _milliseconds("delay", delay, least=timedelta(0)),
        at_ms=0 if at is None else _moment(at),
        expires_ms=_milliseconds("expires", expires, least=_MS),
        attempts=attempts,
        first_ms=first,
        longest_ms=longest,
        on_failure=on_failure,
        id="" if call_id is None else _chosen_id(call_id),
        keep_ms=_milliseconds("keep", keep, least=timedelta(0)),
    )


def _milliseconds(option: str, value: object, *, least: timedelta) -> int:
    if not isinstance(value, timedelta):
        raise TypeError(f"{option} is {value!r}; use a timedelta, for example {option}=timedelta(hours=1)")
    if not least <= value <= _TIME_MAX:
        raise ValueError(f"{option} is {value}; it must be {least} to {_TIME_MAX}")
    return value // _MS


def _moment(at: object) -> int:
    if not isinstance(at, datetime):
        raise TypeError(f"at is {at!r}; use a datetime with a time zone, or delay=timedelta(...)")
    if at.tzinfo is None:
        raise ValueError(f"at is {at}, without a time zone; use for example datetime.now(UTC) + timedelta(hours=1)")
    return max(1, (at - datetime(1970, 1, 1, tzinfo=UTC)) // _MS)


def _backoff(backoff: object) -> tuple[int, int]:
    waits = cast("tuple[object, ...]", backoff)
    if not isinstance(backoff, tuple) or len(waits) != 2:
        raise TypeError(f"backoff is {backoff!r}; give the first and the longest wait, as two timedeltas")
    shortest = _milliseconds("the first wait of backoff", waits[0], least=_MS)
    bound = _milliseconds("the longest wait of backoff", waits[1], least=_MS)
    if shortest > bound:
        raise ValueError(f"backoff is {backoff!r}: the first wait is longer than the longest")
    return shortest, bound


def _chosen_id(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"id is {value!r}; use a string, for example id='{value}'")
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise ValueError("the id of a call is not valid UTF-8") from error
    if not 1 <= size <= CALL_ID_BYTES_MAX:
        raise ValueError(f"the id of a call has {size} bytes; 1 to {CALL_ID_BYTES_MAX} are allowed")
    for prefix, kind in ((GENERATED_ID_PREFIX, "generated ids"), (NOTE_PREFIX, "notes of GoVerse")):
        if value.startswith(prefix):
            raise ValueError(f"the id {value!r} begins with {prefix!r}, as {kind} do; choose another")
    return value
