"""Calls that are answered before they run, and the routes of reliable calls, on a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from goverse.model.frames import Operation
from tests.gate.call_desk import HOUR, INCREMENT, LATER, WITHDRAW, Client, Desk, double_desk, node_desk
from tests.gate.serving import ADMIN
from tests.gate.wire import until

pytestmark = pytest.mark.requirement("GATE-11")


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with double_desk() as found:
        yield found


@pytest.fixture(params=["double", "node"])
async def clerk(request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    """A client of a gate with a real node behind it, and of one with a double: both answer alike."""
    async with double_desk() if request.param == "double" else node_desk() as found:
        yield found


# --- respond-async ----------------------------------------------------------------------------------------------------


async def test_a_call_is_accepted_with_its_status_and_a_location(clerk: Client) -> None:
    answer = await clerk.submit(by=5)
    status = answer.json()
    assert (answer.status_code, status["state"], status["method"]) == (202, "pending", "increment")
    assert answer.headers["location"] == f"/calls/{status['id']}"
    assert (answer.headers["preference-applied"], answer.headers["retry-after"]) == ("respond-async", "1")
    assert "etag" not in answer.headers
    assert answer.headers["cache-control"] == "no-store"

    ended = await clerk.ended(answer.headers["location"])
    assert (ended["id"], ended["state"]) == (status["id"], "success")
    assert await clerk.value() == 5


async def test_the_result_is_the_response_of_the_call_itself(clerk: Client) -> None:
    plain = await clerk.client.post(INCREMENT, json={"by": 5})
    at = (await clerk.submit(by=5)).headers["location"]
    await clerk.ended(at)
    result = await clerk.client.get(f"{at}/result")
    assert (result.status_code, result.content, plain.content) == (200, b"10", b"5")
    assert result.headers["etag"] == '"2"'
    assert result.headers["content-type"] == plain.headers["content-type"]

    at = (await clerk.submit(path=WITHDRAW, amount=99)).headers["location"]
    await clerk.ended(at)
    refused = await clerk.client.get(f"{at}/result")
    again = await clerk.client.get(str(refused.url))
    assert (refused.status_code, refused.json()["code"], refused.json()["balance"]) == (402, "insufficient_funds", 10)
    assert refused.content == again.content
    assert refused.headers["content-type"] == "application/problem+json"


async def test_with_wait_the_result_is_the_response_if_the_call_ends_in_time(desk: Desk) -> None:
    waiting = {"Prefer": "respond-async, wait=30"}
    ended = await desk.submit(waiting, by=5)
    assert (ended.status_code, ended.content, ended.headers["etag"]) == (200, b"5", '"1"')
    assert ended.headers["preference-applied"] == "respond-async, wait=30"
    assert "location" not in ended.headers

    refused = await desk.submit(waiting, path=WITHDRAW, amount=99)
    assert (refused.status_code, refused.json()["code"]) == (402, "insufficient_funds")

    desk.link.calls_held = True
    answer = asyncio.create_task(desk.submit(waiting))
    await until(lambda: len(desk.link.calls) == 3)
    [*_, last] = desk.link.calls.values()
    await until(lambda: desk.link.requests[-1].operation is Operation.CALLS)
    await desk.link.run(last)
    assert ((await answer).status_code, (await answer).content) == (200, b"6")


async def test_with_wait_a_call_that_does_not_end_in_time_is_accepted(clerk: Client) -> None:
    answer = await clerk.submit({"Prefer": "respond-async, wait=1", "GoVerse-Delay": "90"})
    assert (answer.status_code, answer.headers["retry-after"]) == (202, "90")
    assert answer.headers["preference-applied"] == "respond-async, wait=1"


@pytest.mark.parametrize("prefer", ["return=minimal", "handling=lenient, wait=5", "respond-asynchronously", ""])
async def test_other_preferences_do_not_change_a_call(clerk: Client, prefer: str) -> None:
    answer = await clerk.submit({"Prefer": prefer}, by=2)
    assert (answer.status_code, answer.content) == (200, b"2")
    assert "preference-applied" not in answer.headers


@pytest.mark.parametrize(
    "prefer", ["Respond-Async", 'foo="a, b"; x, respond-async', "respond-async=1; wait=3", 'a="x\\",y", respond-async']
)
async def test_the_preference_is_found_in_every_form(desk: Desk, prefer: str) -> None:
    answer = await desk.submit({"Prefer": prefer})
    assert (answer.status_code, answer.headers["preference-applied"]) == (202, "respond-async")


async def test_the_preference_is_found_in_a_repeated_header(clerk: Client) -> None:
    answer = await clerk.client.post(INCREMENT, headers=[("Prefer", "return=minimal"), ("Prefer", "respond-async")])
    assert answer.status_code == 202


async def test_the_same_key_gets_the_same_call(clerk: Client) -> None:
    keyed = {**LATER, "Idempotency-Key": "k1"}
    answers = await asyncio.gather(*(clerk.submit(keyed, by=5) for _ in range(5)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.headers["location"] for answer in answers}) == 1
    later = await clerk.submit(keyed, by=5)
    assert later.headers["location"] == answers[0].headers["location"]
    assert later.headers["idempotency-replayed"] == "true"
    await clerk.ended(later.headers["location"])
    assert await clerk.value() == 5


async def test_arguments_are_checked_before_the_call_is_accepted(desk: Desk) -> None:
    answer = await desk.submit(by="five")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_arguments")
    unknown = await desk.submit(path="/objects/Counter/c1/call/increase")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_method")
    assert desk.link.calls == {}


@pytest.mark.parametrize(
    ("headers", "complaint"),
    [
        ({"GoVerse-Delay": "5"}, "add the header Prefer: respond-async"),
        ({"GoVerse-Not-Before": "2030-01-31T08:00:00Z"}, "add the header Prefer: respond-async"),
        ({**LATER, "GoVerse-Delay": "-1"}, "invalid GoVerse-Delay"),
        ({**LATER, "GoVerse-Delay": "soon"}, "invalid GoVerse-Delay"),
        ({**LATER, "GoVerse-Delay": "999999999"}, "invalid GoVerse-Delay"),
        ({**LATER, "GoVerse-Delay": ""}, "invalid GoVerse-Delay"),
        ({**LATER, "GoVerse-Not-Before": "tomorrow"}, "invalid GoVerse-Not-Before"),
        ({**LATER, "GoVerse-Not-Before": "2030-01-31T08:00:00"}, "invalid GoVerse-Not-Before"),
        ({**LATER, "GoVerse-Not-Before": "2030-02-31T08:00:00Z"}, "invalid GoVerse-Not-Before"),
        ({**LATER, "GoVerse-Not-Before": "9999-12-31T23:59:59-23:59"}, "invalid GoVerse-Not-Before"),
        ({**LATER, "GoVerse-Delay": "1", "GoVerse-Not-Before": "2030-01-31T08:00:00Z"}, "exclude each other"),
    ],
)
async def test_a_malformed_time_is_refused(desk: Desk, headers: dict[str, str], complaint: str) -> None:
    answer = await desk.submit(headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")
    assert complaint in answer.json()["detail"]
    assert desk.link.requests == []


@pytest.mark.parametrize("at", ["1999-12-31T23:59:59+01:00", "Fri, 31 Dec 1999 23:59:59 GMT"])
async def test_a_time_that_has_passed_is_now(desk: Desk, at: str) -> None:
    assert (await desk.submit({**LATER, "GoVerse-Not-Before": at})).status_code == 202
    assert desk.link.requests[-1].delay_ms == 0


async def test_a_later_time_is_a_delay(desk: Desk) -> None:
    answer = await desk.submit({**LATER, "GoVerse-Delay": "1.5"})
    assert (desk.link.requests[-1].delay_ms, answer.headers["retry-after"]) == (1500, "2")
    in_ten_days = datetime.now(UTC) + timedelta(days=10)
    for at in (in_ten_days.isoformat(), format_datetime(in_ten_days, usegmt=True)):
        await desk.submit({**LATER, "GoVerse-Not-Before": at})
        assert 9 * 86_400_000 < desk.link.requests[-1].delay_ms <= 10 * 86_400_000


async def test_under_v1_the_location_is_under_v1(clerk: Client) -> None:
    answer = await clerk.client.post("/v1" + INCREMENT, headers=LATER)
    assert answer.headers["location"].startswith("/v1/calls/c_")
    assert (await clerk.ended(answer.headers["location"]))["state"] == "success"


# --- status, result, cancel -------------------------------------------------------------------------------------------


async def test_a_call_that_has_not_ended_has_a_status_and_no_result(clerk: Client) -> None:
    at = (await clerk.submit(HOUR)).headers["location"]
    for wait in ("", "?wait=0", "?wait=0.01"):
        shown = await clerk.client.get(at + wait)
        assert (shown.status_code, shown.json()["state"]) == (200, "pending")
        assert shown.json()["waits_for"].startswith("due in ")
    result = await clerk.client.get(f"{at}/result")
    assert (result.status_code, result.json()["code"]) == (409, "call_pending")


async def test_a_wait_ends_with_the_call(desk: Desk) -> None:
    at = (await desk.submit(HOUR, by=3)).headers["location"]
    waiting = asyncio.create_task(desk.client.get(f"{at}?wait=60"))
    await until(lambda: desk.link.requests[-1].method == "show")
    assert desk.app.objects.inflight == 0
    [call] = desk.link.calls.values()
    await desk.link.run(call)
    assert (await waiting).json()["state"] == "success"
    assert desk.app.objects.inflight == 0


async def test_a_cancelled_call_never_runs(clerk: Client) -> None:
    at = (await clerk.submit(HOUR)).headers["location"]
    cancelled = await clerk.client.delete(at)
    assert (cancelled.status_code, cancelled.content) == (204, b"")
    assert (await clerk.ended(at))["state"] == "cancelled"
    assert (await clerk.client.get(f"{at}/result")).json()["code"] == "call_void"
    assert (await clerk.client.delete(at)).status_code == 204


async def test_a_wait_whose_client_leaves_is_dropped(desk: Desk) -> None:
    at = (await desk.submit(HOUR)).headers["location"]
    waiting = asyncio.create_task(desk.client.get(f"{at}?wait=60"))
    await until(lambda: desk.link.requests[-1].method == "show")
    waiting.cancel()
    await until(desk.link.waiters[-1].done)
    assert desk.app.objects.inflight == 0
    metrics = (await desk.client.get("/metrics")).text
    assert 'goverse_operation_duration_seconds_count{operation="call_status",status="client_gone"} 1.0' in metrics


async def test_a_draining_gate_ends_all_waits_with_the_present_status(desk: Desk) -> None:
    at = (await desk.submit(HOUR)).headers["location"]
    waiting = [asyncio.create_task(desk.client.get(f"{at}?wait=60")) for _ in range(3)]
    submitting = asyncio.create_task(desk.submit({**HOUR, "Prefer": "respond-async, wait=60"}))
    await until(lambda: [request.method for request in desk.link.requests].count("show") == 4)
    desk.app.drain()
    for each in waiting:
        answer = await each
        assert (answer.status_code, answer.json()["state"]) == (200, "pending")
        assert answer.headers["connection"] == "close"
    assert (await submitting).status_code == 202


async def test_waits_are_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("goverse_gate.call_requests.CALL_WAITS_MAX", 2)
    at = (await desk.submit(HOUR)).headers["location"]
    waiting = [asyncio.create_task(desk.client.get(f"{at}?wait=60")) for _ in range(2)]
    await until(lambda: [request.method for request in desk.link.requests].count("show") == 2)
    refused = await desk.client.get(f"{at}?wait=60")
    assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"]) == (429, "overloaded", "1")
    assert (await desk.client.get(at)).status_code == 200, "a look without a wait needs no place"
    assert (await desk.submit({"Prefer": "respond-async, wait=60"})).status_code == 202, "the call is accepted"
    await desk.link.run(next(iter(desk.link.calls.values())))
    assert {(await each).json()["state"] for each in waiting} == {"success"}


async def test_unknown_calls_are_not_found(clerk: Client) -> None:
    for method, path in (("GET", ""), ("GET", "/result"), ("DELETE", "")):
        answer = await clerk.client.request(method, f"/calls/c_{'0' * 48}{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "call_not_found")


async def test_a_call_whose_sender_chose_the_id_is_found_by_its_sender(desk: Desk) -> None:
    await desk.client.get("/calls/pay%2F7?sender=Counter/a%2Fb")
    request = desk.link.requests[-1]
    assert (request.key.type, request.key.id, request.body) == ("Counter", "a/b", b'{"id":"pay/7"}')


async def test_requests_about_a_call_go_to_the_place_in_its_id(desk: Desk) -> None:
    at = (await desk.submit()).headers["location"]
    await desk.client.get(at, headers={"GoVerse-Namespace": "other", "GoVerse-Timeout": "7"})
    request = desk.link.requests[-1]
    assert (request.key.namespace, request.key.type, request.key.id) == ("other", "", at[len("/calls/c_") :][:16])


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/calls/c1?wait=61", "malformed_request"),
        ("GET", "/calls/c1?wait=x", "malformed_request"),
        ("GET", "/calls/c1?wait=1&wait=2", "malformed_request"),
        ("GET", "/calls/c1?sender=Counter", "malformed_request"),
        ("GET", "/calls/c1?sender=1/2", "malformed_request"),
        ("GET", "/calls/c1?limit=3", "malformed_request"),
        ("GET", "/calls/%ff", "malformed_request"),
        ("GET", "/calls/%2", "malformed_request"),
        ("GET", f"/calls/{'x' * 1025}", "malformed_request"),
        ("GET", "/calls/c1/result/more", "unknown_path"),
        ("GET", "/calls/", "unknown_path"),
        ("GET", "/calls/c1/outcome", "unknown_path"),
        ("GET", "/callsign", "unknown_path"),
        ("GET", "/dead-letters/c1", "unknown_path"),
        ("PUT", "/calls/c1", "method_not_allowed"),
        ("POST", "/calls/c1", "method_not_allowed"),
        ("DELETE", "/calls", "method_not_allowed"),
        ("POST", "/calls/c1/result", "method_not_allowed"),
        ("GET", "/calls/pause", "method_not_allowed"),
    ],
)
async def test_a_wrong_request_is_refused(desk: Desk, method: str, path: str, code: str) -> None:
    answer = await desk.client.request(method, path)
    assert answer.json()["code"] == code
    assert desk.link.requests == []
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["goverse-request-id"]


async def test_options_names_the_methods(desk: Desk) -> None:
    for path, allow in (
        ("/calls", "GET, HEAD, OPTIONS"),
        ("/calls/c1", "DELETE, GET, HEAD, OPTIONS"),
        ("/calls/pause", "OPTIONS, POST"),
        ("/dead-letters/redrive", "OPTIONS, POST"),
        ("/calls/c1/skip", "OPTIONS, POST"),
    ):
        answer = await desk.client.options(path)
        assert (answer.status_code, answer.headers["allow"]) == (204, allow)


async def test_head_answers_without_a_body(clerk: Client) -> None:
    at = (await clerk.submit()).headers["location"]
    answer = await clerk.client.head(at)
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) > 0


async def test_a_page_of_an_allowed_origin_can_follow_its_call() -> None:
    page = {"Origin": "https://shop.example"}
    async with double_desk(allowed_origins=("https://shop.example",)) as desk:
        preflight = await desk.client.options(
            INCREMENT,
            headers={
                **page,
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "prefer,goverse-delay,goverse-not-before",
            },
        )
        assert preflight.status_code == 204
        allowed = preflight.headers["access-control-allow-headers"]
        assert {"Prefer", "GoVerse-Delay", "GoVerse-Not-Before"} <= set(allowed.split(", "))
        answer = await desk.submit({**LATER, **page})
        exposed = set(answer.headers["access-control-expose-headers"].split(", "))
        assert {"Location", "Preference-Applied", "Retry-After"} <= exposed
        asked = {**page, "Access-Control-Request-Method": "DELETE"}
        preflight = await desk.client.options("/calls/c1", headers=asked)
        assert "DELETE" in preflight.headers["access-control-allow-methods"]
        shown = await desk.client.get(answer.headers["location"], headers=page)
        assert shown.headers["access-control-allow-origin"] == "https://shop.example"


async def test_the_requests_are_counted_by_operation(clerk: Client) -> None:
    at = (await clerk.submit(HOUR)).headers["location"]
    await clerk.client.get(at)
    await clerk.client.get(f"{at}/result")
    await clerk.client.delete(at)
    await clerk.operate("GET", "/calls")
    found = (await clerk.client.get("/metrics")).text
    for operation, outcome in (
        ("submit", "success"),
        ("call_status", "success"),
        ("call_result", "call_pending"),
        ("call_cancel", "success"),
        ("calls", "success"),
    ):
        series = f'goverse_operation_duration_seconds_count{{operation="{operation}",status="{outcome}"}} 1.0'
        assert series in found, operation


async def test_pages_of_other_origins_are_refused(desk: Desk) -> None:
    answer = await desk.client.get("/calls/c1", headers={"Origin": "http://evil.example"})
    assert (answer.status_code, answer.json()["code"]) == (403, "access_denied")
    assert desk.link.requests == []


# --- operators --------------------------------------------------------------------------------------------------------

OPERATORS = [
    ("GET", "/calls"),
    ("GET", "/dead-letters"),
    ("POST", "/calls/c1/retry"),
    ("POST", "/calls/c1/skip"),
    ("POST", "/calls/pause"),
    ("POST", "/calls/resume"),
    ("POST", "/calls/cleanup"),
    ("POST", "/dead-letters/c1/redrive"),
    ("POST", "/dead-letters/redrive"),
]


@pytest.mark.parametrize(("method", "path"), OPERATORS)
async def test_operations_need_the_admin_token(desk: Desk, method: str, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer x"}, {**ADMIN, "X-Forwarded-For": "10.0.0.1"}):
        answer = await desk.client.request(method, path, headers=headers)
        assert (answer.status_code, answer.json()["code"], answer.json()["rule"]) == (403, "access_denied", "admin")
    assert desk.link.requests == []


async def test_calls_are_listed_in_pages(desk: Desk) -> None:
    for _ in range(3):
        await desk.submit(HOUR)
    await desk.submit()
    page = await desk.operate("GET", "/calls?state=pending&limit=2&receiver=Counter/c1&type=Counter&older_than=30d")
    assert len(page["items"]) == 2
    assert b'"older_than_ms":2592000000' in desk.link.requests[-1].body
    rest = await desk.operate("GET", f"/calls?state=pending&cursor={page['cursor']}")
    assert (len(rest["items"]), rest["cursor"]) == (1, None)


async def test_pages_have_each_call_once(clerk: Client) -> None:
    names = [(await clerk.submit(HOUR)).json()["id"] for _ in range(5)]
    found: list[str] = []
    path = "/calls?state=pending&limit=2&receiver=Counter/c1"
    cursor: str | None = ""
    while cursor is not None:
        page = await clerk.operate("GET", path + (f"&cursor={cursor}" if cursor else ""))
        found += [item["id"] for item in page["items"]]
        cursor = page["cursor"]
    assert sorted(found) == sorted(names)
    assert (await clerk.operate("GET", "/calls?receiver=Counter/other"))["items"] == []
    assert (await clerk.operate("GET", "/calls?type=Room"))["items"] == []


async def test_a_dead_letter_is_sent_again_with_other_arguments(desk: Desk) -> None:
    name = await desk.dead()
    assert [letter["id"] for letter in (await desk.operate("GET", "/dead-letters"))["items"]] == [name]
    answer = await desk.client.post(
        f"/dead-letters/{name}/redrive", json={"delay": 5, "arguments": {"by": 2}}, headers=ADMIN
    )
    assert (answer.status_code, answer.headers["location"]) == (200, f"/calls/{answer.json()['id']}")
    again = desk.link.calls[answer.json()["id"]]
    assert (again.request.body, again.request.delay_ms) == (b'{"by":2}', 5000)
    refused = await desk.client.post(f"/dead-letters/{name}/redrive", headers=ADMIN)
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")


async def test_dead_letters_are_sent_again_page_by_page(clerk: Client) -> None:
    names = {await clerk.dead() for _ in range(3)}
    counted = await clerk.operate("POST", "/dead-letters/redrive", type="Counter", dry_run=True)
    assert (counted["matched"], counted["redriven"], counted["failed"]) == (3, [], [])
    page = await clerk.operate("POST", "/dead-letters/redrive", limit=2)
    rest = await clerk.operate("POST", "/dead-letters/redrive", limit=2)
    assert {letter["id"] for letter in (*page["redriven"], *rest["redriven"])} == names
    assert rest["cursor"] is None


async def test_a_page_of_dead_letters_names_those_that_were_refused(desk: Desk) -> None:
    name = await desk.dead()
    good = await desk.dead()
    desk.link.calls[name].key = desk.link.calls[name].key._replace(id="elsewhere")
    shown = desk.link.calls[name].status
    desk.link.calls[name].status = lambda: shown() | {"sender": {"type": "Counter", "id": "c1"}}  # type: ignore[method-assign]
    page = await desk.operate("POST", "/dead-letters/redrive")
    assert [letter["id"] for letter in page["redriven"]] == [good]
    assert [(letter["id"], letter["problem"]["code"]) for letter in page["failed"]] == [(name, "call_not_found")]


async def test_a_delayed_call_that_is_retried_runs_at_once(clerk: Client) -> None:
    name = (await clerk.submit(HOUR, by=3)).json()["id"]
    assert (await clerk.operate("POST", f"/calls/{name}/retry"))["id"] == name
    assert (await clerk.ended(f"/calls/{name}"))["state"] == "success"
    assert (await clerk.operate("POST", f"/calls/{name}/retry"))["state"] == "success", "an ended call does not change"
    assert await clerk.value() == 3


async def test_a_skipped_call_never_runs(clerk: Client) -> None:
    name = (await clerk.submit(HOUR)).json()["id"]
    assert (await clerk.operate("POST", f"/calls/{name}/skip"))["id"] == name
    assert (await clerk.ended(f"/calls/{name}"))["state"] == "dead"
    assert await clerk.value() == 0


async def test_a_pair_is_paused_and_resumed(desk: Desk) -> None:
    pair = {"sender": "Counter/a/b", "receiver": "Room/r"}
    assert await desk.operate("POST", "/calls/pause", **pair) == {"paused": True}
    assert (desk.link.requests[-1].key.type, desk.link.requests[-1].key.id) == ("Counter", "a/b")
    assert desk.link.paused == {("Counter/a/b", "Room/r")}
    assert await desk.operate("POST", "/calls/resume", **pair) == {"paused": False}


@pytest.mark.requirement("DUR-4")
async def test_a_cleanup_counts_then_removes_ended_calls(desk: Desk) -> None:
    for _ in range(3):
        await desk.submit()
    await desk.submit(HOUR)
    assert await desk.operate("POST", "/calls/cleanup", dry_run=True) == {"forgotten": 3}
    assert await desk.operate("POST", "/calls/cleanup", state="success", older_than="0s", limit=2) == {"forgotten": 2}
    assert await desk.operate("POST", "/calls/cleanup") == {"forgotten": 1}
    assert [call.state for call in desk.link.calls.values()] == ["pending"]


@pytest.mark.parametrize(
    ("method", "path", "json"),
    [
        ("GET", "/calls?state=lost", None),
        ("GET", "/calls?older_than=1y", None),
        ("GET", "/calls?limit=0", None),
        ("GET", "/calls?receiver=c1", None),
        ("GET", "/calls?type=not-a-name", None),
        ("GET", "/dead-letters?state=dead", None),
        ("POST", "/calls/pause", {"sender": "Counter/a"}),
        ("POST", "/calls/pause", {"sender": {"type": "Counter", "id": "a"}, "receiver": "Room/r"}),
        ("POST", "/calls/cleanup", {"force": True}),
        ("POST", "/calls/cleanup", {"dry_run": 1}),
        ("POST", "/calls/cleanup", {"dry_run": None}),
        ("POST", "/calls/cleanup", {"older_than": None}),
        ("POST", "/calls/cleanup", {"limit": 1.5}),
        ("POST", "/calls/cleanup", {"limit": "5"}),
        ("POST", "/calls/cleanup", {"limit": True}),
        ("POST", "/calls/cleanup", {"older_than": 30}),
        ("POST", "/calls/cleanup", [1]),
        ("POST", "/calls/c1/retry", {"now": True}),
        ("POST", "/dead-letters/c1/redrive", {"delay": -1}),
        ("POST", "/dead-letters/c1/redrive", {"arguments": [1]}),
    ],
)
async def test_a_wrong_operation_is_refused(desk: Desk, method: str, path: str, json: Any) -> None:
    answer = await desk.client.request(method, path, headers=ADMIN, json=json)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")
    assert desk.link.requests == []
