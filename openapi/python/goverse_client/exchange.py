"""The life of one request, from the first attempt to the result, without I/O.

``exchange`` is a generator. It yields the next step (``Send`` or ``Pause``) and receives the outcome of a ``Send``. The
asynchronous and the synchronous client run the same generator.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from goverse_client.errors import CallTimeout, ConnectionFailed, GoverseError, UnexpectedAnswer, error_of, media_type
from goverse_client.retries import RetryPolicy

GRACE_S: Final = 1.0
"""The client waits this much longer than the gate, whose error says whether the call ran."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request to a gate.

    Attributes:
        method: the HTTP method.
        path: the encoded path, with its query.
        headers: the headers, with lower-case names.
        body: JSON, or None.
        timeout_s: the timeout of all attempts together.
        repeatable: True if sending the request twice has the same effect as sending it once.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes | None
    timeout_s: float
    repeatable: bool


class Send(NamedTuple):
    """A step: send this request, and wait up to ``timeout_s`` for the response."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes | None
    timeout_s: float


class Pause(NamedTuple):
    """A step: wait."""

    seconds: float


class Answer(NamedTuple):
    """A response. ``headers`` has lower-case names; ``attempts`` is the number of requests sent."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    attempts: int = 1


class Lost(NamedTuple):
    """An attempt without a response. ``sent`` is True if the gate may have received the request."""

    reason: str
    sent: bool


class Unusable(NamedTuple):
    """A response that cannot be used: too large, compressed, or the response to another request."""

    reason: str
    status: int


Outcome = Answer | Lost | Unusable
Exchange = Generator[Send | Pause, Outcome | None, Answer]

_UNEXECUTED: Final = frozenset({"draining", "moving", "overloaded", "rate_limited"})
"""Error codes that rule out that the request ran. ``unavailable`` does not: the call may have taken effect."""


def exchange(
    request: Request, policy: RetryPolicy, clock: Callable[[], float], chance: Callable[[], float]
) -> Exchange:
    """Run a request with retries, and return the success response.

    Args:
        request: the request.
        policy: the retry policy.
        clock: returns monotonic seconds.
        chance: returns random numbers from 0 to 1.

    Raises:
        GoverseError: the request failed.
    """
    deadline = clock() + request.timeout_s
    attempts, left_s = 0, request.timeout_s
    while True:
        attempts += 1
        headers = {**request.headers, "goverse-timeout": f"{max(0.1, left_s):.3f}"}
        outcome = yield Send(request.method, request.path, headers, request.body, left_s + GRACE_S)
        assert outcome is not None
        if isinstance(outcome, Answer) and _is_result(outcome, request.method):
            return outcome._replace(attempts=attempts)
        error, again = _judge(outcome, request, expired=clock() >= deadline)
        error.attempts = attempts
        if not again or attempts >= policy.attempts_max:
            raise error
        pause_s = policy.pause(attempts, error.retry_after_s, chance())
        if clock() + pause_s >= deadline:
            raise error
        yield Pause(pause_s)
        left_s = deadline - clock()
        if left_s <= 0:  # the process or the machine was suspended during the pause
            late = CallTimeout(f"the timeout of {request.timeout_s:g} s passed before a retry; error: {error.detail}")
            late.attempts = attempts
            raise late from error


def _is_result(answer: Answer, method: str) -> bool:
    """True if this is a gate's success response: JSON, or no content for a delete. A proxy may send other ones."""
    if answer.status == 204:
        return method == "DELETE"
    return 200 <= answer.status < 300 and media_type(answer.headers) == "application/json"


def _judge(outcome: Outcome, request: Request, *, expired: bool) -> tuple[GoverseError, bool]:
    if isinstance(outcome, Unusable):
        return UnexpectedAnswer(outcome.reason, status=outcome.status), False
    if isinstance(outcome, Answer):
        error = error_of(outcome.status, outcome.headers, outcome.content)
        # Without a key, only codes that rule out an effect are retried. A proxy's response has none of these codes.
        return error, error.retryable and (request.repeatable or error.code in _UNEXECUTED)
    if expired and outcome.sent:
        return CallTimeout(f"no response within {request.timeout_s:g} s ({outcome.reason})"), False
    known = "" if not outcome.sent or request.repeatable else "; it is unknown whether the request ran"
    error = ConnectionFailed(f"{outcome.reason}{known}", retryable=True)
    return error, request.repeatable or not outcome.sent
