"""The rules for retries, with a clock that the test controls."""

import json
from dataclasses import dataclass, field

import pytest

from goverse_client import (
    BusinessError,
    CallTimeout,
    ConnectionFailed,
    GoverseError,
    InvalidArguments,
    Overloaded,
    RetryPolicy,
    Unavailable,
    UnexpectedAnswer,
)
from goverse_client.exchange import GRACE_S, Answer, Lost, Pause, Request, Send, exchange
from goverse_client.requests import reply_of

pytestmark = pytest.mark.requirement("GATE-2")

JSON = {"content-type": "application/json"}
OK = Answer(200, JSON, b"2")
UNSENT = Lost("ConnectError: refused", sent=False)
CUT = Lost("ReadError", sent=True)


PROBLEM_JSON = {"content-type": "application/problem+json"}


def problem(status: int, code: str, *, retryable: bool = False, **headers: str) -> Answer:
    body = {"status": status, "code": code, "detail": f"it is {code}", "retryable": retryable, "request_id": "r1"}
    return Answer(status, {"content-type": "application/problem+json", **headers}, json.dumps(body).encode())


@dataclass
class Script:
    """A scripted gate: one outcome after the other, each after ``each_s``. Pauses last ``stopped_s`` seconds longer."""

    outcomes: list[Answer | Lost]
    each_s: float = 0.0
    stopped_s: float = 0.0
    now: float = 100.0
    sent: list[Send] = field(default_factory=list[Send])
    pauses: list[float] = field(default_factory=list[float])

    def run(
        self,
        *,
        repeatable: bool = True,
        timeout_s: float = 30.0,
        policy: RetryPolicy | None = None,
        method: str = "POST",
    ) -> Answer:
        request = Request(method, "/x", {"idempotency-key": "k"}, b"{}", timeout_s, repeatable)
        steps = exchange(request, policy or RetryPolicy(), lambda: self.now, lambda: 0.5)
        step = next(steps)
        while True:
            came: Answer | Lost | None = None
            if isinstance(step, Pause):
                self.pauses.append(step.seconds)
                self.now += step.seconds + self.stopped_s
            else:
                self.sent.append(step)
                self.now += self.each_s
                came = self.outcomes[len(self.sent) - 1]
            try:
                step = steps.send(came)
            except StopIteration as end:
                answer: Answer = end.value
                return answer


def test_a_success_is_returned_immediately() -> None:
    script = Script([OK])
    assert script.run().content == OK.content
    assert script.pauses == []


def test_a_retryable_error_is_retried_with_the_same_key_and_less_time() -> None:
    script = Script([problem(503, "moving", retryable=True), problem(504, "timeout", retryable=True), OK], each_s=2)
    assert script.run().content == OK.content
    assert [send.headers["idempotency-key"] for send in script.sent] == ["k", "k", "k"]
    assert [send.headers["goverse-timeout"] for send in script.sent] == ["30.000", "27.975", "25.925"]
    assert script.sent[0].timeout_s == 30 + GRACE_S


def test_pauses_double_up_to_their_limit() -> None:
    script = Script([UNSENT] * 5 + [OK])
    script.run(policy=RetryPolicy(pause_s=1, pause_s_max=5))
    assert script.pauses == [0.5, 1.0, 2.0, 2.5, 2.5]


def test_a_pause_is_retry_after_plus_jitter() -> None:
    script = Script([problem(429, "overloaded", retryable=True, **{"retry-after": "3"}), OK])
    script.run(policy=RetryPolicy(pause_s=1))
    assert script.pauses == [3.5]


def test_a_pause_beyond_the_timeout_is_not_started() -> None:
    script = Script([problem(503, "unavailable", retryable=True, **{"retry-after": "60"})])
    with pytest.raises(Unavailable) as caught:
        script.run()
    assert (caught.value.attempts, caught.value.retry_after_s, script.pauses) == (1, 60, [])


def test_attempts_are_limited_and_counted() -> None:
    script = Script([UNSENT] * 3)
    with pytest.raises(ConnectionFailed, match=r"tried 3 times") as caught:
        script.run(policy=RetryPolicy(attempts_max=3))
    assert caught.value.attempts == 3


def test_without_a_key_only_unsent_requests_are_retried() -> None:
    assert Script([UNSENT, problem(503, "moving", retryable=True), OK]).run(repeatable=False).content == OK.content
    with pytest.raises(ConnectionFailed, match="it is unknown whether the request ran"):
        Script([CUT]).run(repeatable=False)
    with pytest.raises(CallTimeout):
        Script([problem(504, "timeout", retryable=True)]).run(repeatable=False)


@pytest.mark.parametrize(("status", "code"), [(503, "moving"), (503, "draining"), (429, "overloaded")])
def test_an_error_that_rules_out_an_effect_is_retried_without_a_key(status: int, code: str) -> None:
    script = Script([problem(status, code, retryable=True), OK])
    assert script.run(repeatable=False).content == OK.content


@pytest.mark.parametrize(("status", "code"), [(503, "unavailable"), (504, "timeout"), (503, "something_newer")])
def test_a_request_that_may_have_run_is_not_retried_without_a_key(status: int, code: str) -> None:
    script = Script([problem(status, code, retryable=True)])
    with pytest.raises(GoverseError) as caught:
        script.run(repeatable=False)
    assert (caught.value.code, caught.value.attempts) == (code, 1)


def test_a_response_has_the_number_of_attempts() -> None:
    answer = Script([UNSENT, Answer(200, JSON, b"{")]).run()
    with pytest.raises(UnexpectedAnswer, match="cannot be parsed as JSON") as caught:
        reply_of(answer)
    assert caught.value.attempts == 2


@pytest.mark.parametrize("status", [429, 502, 503, 504])
@pytest.mark.parametrize("kind", ["text/plain", "application/problem+json"])
def test_without_a_key_the_response_of_a_proxy_is_final(status: int, kind: str) -> None:
    script = Script([Answer(status, {"content-type": kind, "retry-after": "0"}, b"upstream connect error")])
    with pytest.raises(GoverseError) as caught:
        script.run(repeatable=False)
    assert (caught.value.status, caught.value.attempts, len(script.sent)) == (status, 1, 1)


def test_a_broken_connection_is_retried_with_the_key() -> None:
    assert Script([CUT, CUT, OK]).run().content == OK.content


def test_a_missing_response_is_a_timeout() -> None:
    with pytest.raises(CallTimeout, match="no response within 5 s"):
        Script([CUT], each_s=6).run(timeout_s=5)


def test_a_process_suspended_in_a_pause_sends_nothing_after_the_deadline() -> None:
    script = Script([problem(503, "moving", retryable=True)], stopped_s=60)
    with pytest.raises(CallTimeout, match=r"the timeout of 5 s passed before a retry; error: it is moving") as caught:
        script.run(timeout_s=5)
    assert (caught.value.attempts, len(script.sent)) == (1, 1)


def test_an_unreachable_gate_is_a_failed_connection_even_after_the_deadline() -> None:
    with pytest.raises(ConnectionFailed):
        Script([UNSENT], each_s=6).run(timeout_s=5)


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (problem(402, "insufficient_funds"), BusinessError, "insufficient_funds"),
        (problem(422, "invalid_arguments"), InvalidArguments, "invalid_arguments"),
        (problem(500, "internal_error"), GoverseError, "internal_error"),
        (problem(503, "store_failed"), Unavailable, "store_failed"),
        (Answer(404, {"content-type": "text/html"}, b"<h1>nginx"), UnexpectedAnswer, "unexpected_answer"),
        (Answer(500, PROBLEM_JSON, b"{"), UnexpectedAnswer, "unexpected_answer"),
        (
            Answer(500, PROBLEM_JSON, b'{"code": 1}'),
            UnexpectedAnswer,
            "unexpected_answer",
        ),
    ],
)
def test_errors_are_typed_and_not_retried(answer: Answer, kind: type[GoverseError], code: str) -> None:
    script = Script([answer])
    with pytest.raises(kind) as caught:
        script.run()
    assert type(caught.value) is kind
    assert (caught.value.code, caught.value.status, len(script.sent)) == (code, answer.status, 1)


@pytest.mark.parametrize("method", ["POST", "PUT", "GET", "DELETE"])
@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_a_redirect_is_an_error_with_its_target(status: int, method: str) -> None:
    script = Script([Answer(status, {"location": "https://gate.example/x"}, b"")])
    with pytest.raises(UnexpectedAnswer, match=r"redirects to 'https://gate\.example/x'") as caught:
        script.run(method=method)
    assert (caught.value.status, caught.value.attempts, len(script.sent)) == (status, 1, 1)


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("POST", Answer(200, {"content-type": "text/html"}, b"")),
        ("POST", Answer(200, {"content-type": "text/html"}, b"42")),
        ("POST", Answer(200, {}, b"")),
        ("POST", Answer(204, {}, b"")),
        ("GET", Answer(204, {}, b"")),
        ("DELETE", Answer(200, {"content-type": "text/html"}, b"<p>Log in")),
    ],
)
def test_a_success_that_is_not_from_a_gate_is_an_error(method: str, answer: Answer) -> None:
    with pytest.raises(UnexpectedAnswer, match=rf"the response \(status {answer.status}\) is not from a GoVerse gate"):
        Script([answer]).run(method=method)


def test_only_a_delete_has_no_content() -> None:
    assert reply_of(Script([Answer(204, {}, b"")]).run(method="DELETE")).value is None
    with pytest.raises(UnexpectedAnswer, match="cannot be parsed as JSON"):
        reply_of(Answer(200, JSON, b""))
    assert reply_of(Answer(201, {"content-type": "Application/JSON; charset=utf-8"}, b"null")).value is None


@pytest.mark.parametrize("status", [502, 503, 504])
def test_an_error_of_a_proxy_is_retried(status: int) -> None:
    assert Script([Answer(status, {"content-type": "text/html"}, b"Bad gateway"), OK]).run().content == OK.content


@pytest.mark.parametrize("retry_after", ["soon", "-1", "inf", "nan", "Fri, 13 Nov 2026 10:00:00 GMT"])
def test_an_invalid_retry_after_is_ignored(retry_after: str) -> None:
    script = Script([problem(429, "overloaded", retryable=True, **{"retry-after": retry_after}), OK])
    script.run(policy=RetryPolicy(pause_s=1))
    assert script.pauses == [0.5]


def test_overload_has_its_own_class() -> None:
    with pytest.raises(Overloaded, match=r"overloaded: it is overloaded \(request r1\)"):
        Script([problem(429, "overloaded")]).run()


@pytest.mark.parametrize("values", [{"attempts_max": 0}, {"pause_s": -1}, {"pause_s": 6, "pause_s_max": 5}])
def test_an_invalid_policy_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"attempts_max|pause_s"):
        RetryPolicy(**values)  # type: ignore[arg-type]
