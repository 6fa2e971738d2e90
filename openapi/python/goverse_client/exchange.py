"""One request from its first attempt to its end, without a socket and without a clock of its own.

``exchange`` is a generator: it yields what is to be done next (``Send``, ``Pause``) and is told what came of it. The
two clients, with and without ``async``, drive the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from goverse_client.errors import CallTimeout, ConnectionFailed, GoverseError, UnexpectedAnswer, error_of, media_type
from goverse_client.retries import RetryPolicy

GRACE_S: Final = 1.0
"""How much longer than the gate the client waits: the gate knows better what became of a call."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a gate.

    Attributes:
        method: of HTTP.
        path: encoded, with its query.
        headers: by lower-case names.
        body: JSON, or None.
        timeout_s: for all attempts together.
        repeatable: whether sending it twice has the effect of sending it once.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes | None
    timeout_s: float
    repeatable: bool


class Send(NamedTuple):
    """Send this, and wait so long for an answer."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes | None
    timeout_s: float


class Pause(NamedTuple):
    """Wait."""

    seconds: float


class Answer(NamedTuple):
    """An answer; ``headers`` by lower-case names; ``attempts`` counts the requests that were sent for it."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    attempts: int = 1


class Lost(NamedTuple):
    """No answer came, for this reason; ``sent`` tells whether the gate may have the request."""

    reason: str
    sent: bool


class Unusable(NamedTuple):
    """An answer came that cannot be read, for this reason: it is too large, compressed, or of another request."""

    reason: str
    status: int


Outcome = Answer | Lost | Unusable
Exchange = Generator[Send | Pause, Outcome | None, Answer]

_UNEXECUTED: Final = frozenset({"draining", "moving", "overloaded", "rate_limited"})
"""Problems that a gate gives before it carries out anything. ``unavailable`` is not among them: the call may have
happened."""


def exchange(
    request: Request, policy: RetryPolicy, clock: Callable[[], float], chance: Callable[[], float]
) -> Exchange:
    """Carry out a request; return the answer that is a success.

    Args:
        request: what to ask.
        policy: when to repeat it.
        clock: monotonic seconds.
        chance: random numbers from 0 to 1.

    Raises:
        GoverseError: there is no result; which one says why.
    """
    deadline = clock() + request.timeout_s
    attempts, left_s = 0, request.timeout_s
    while True:
        attempts += 1
        headers = {**request.headers, "goverse-timeout": f"{max(0.1, left_s):.3f}"}
        came = yield Send(request.method, request.path, headers, request.body, left_s + GRACE_S)
        assert came is not None
        if isinstance(came, Answer) and _is_result(came, request.method):
            return came._replace(attempts=attempts)
        error, again = _judge(came, request, expired=clock() >= deadline)
        error.attempts = attempts
        if not again or attempts >= policy.attempts_max:
            raise error
        pause_s = policy.pause(attempts, error.retry_after_s, chance())
        if clock() + pause_s >= deadline:
            raise error
        yield Pause(pause_s)
        left_s = deadline - clock()
        if left_s <= 0:  # the process was stopped meanwhile, or the machine slept
            late = CallTimeout(f"the {request.timeout_s:g} s were over before another attempt; before: {error.detail}")
            late.attempts = attempts
            raise late from error


def _is_result(answer: Answer, method: str) -> bool:
    """Tell whether a gate answered with a result: JSON, or to a deletion nothing; a proxy may answer otherwise."""
    if answer.status == 204:
        return method == "DELETE"
    return 200 <= answer.status < 300 and media_type(answer.headers) == "application/json"


def _judge(came: Outcome, request: Request, *, expired: bool) -> tuple[GoverseError, bool]:
    if isinstance(came, Unusable):
        return UnexpectedAnswer(came.reason, status=came.status), False
    if isinstance(came, Answer):
        error = error_of(came.status, came.headers, came.content)
        # Without a key only problems that rule out an effect are repeated. A proxy's answer has none of these codes.
        return error, error.retryable and (request.repeatable or error.code in _UNEXECUTED)
    if expired and came.sent:
        return CallTimeout(f"no answer within {request.timeout_s:g} s ({came.reason})"), False
    known = "" if not came.sent or request.repeatable else "; whether it was carried out is unknown"
    error = ConnectionFailed(f"{came.reason}{known}", retryable=True)
    return error, request.repeatable or not came.sent
