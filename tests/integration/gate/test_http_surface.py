"""The HTTP surface of the object API, through a real server."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from goverse.model.frames import MUST_EXIST, Request
from goverse.ports.link import Waiter
from goverse_gate.options import GateOptions
from tests.gate.serving import Serving, serving

pytestmark = pytest.mark.requirement("GATE-1")

C1 = "/objects/Counter/c1"
INCREMENT = f"{C1}/call/increment"


def is_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert (problem["code"], problem["status"]) == (code, status)
    assert problem["request_id"] == answer.headers["goverse-request-id"]
    return problem


# --- calls ------------------------------------------------------------------------------------------------------------


async def test_a_call_returns_the_result_with_version_and_position(gate: Serving) -> None:
    answer = await gate.client.post(INCREMENT, json={"by": 2})
    assert (answer.status_code, answer.text, answer.headers["content-type"]) == (200, "2", "application/json")
    assert (answer.headers["etag"], answer.headers["goverse-commit-seq"]) == ('"1"', "1")
    assert "idempotency-replayed" not in answer.headers


@pytest.mark.parametrize(
    "content_type",
    ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data", "application/json; charset=utf-8", ""],
)
async def test_a_body_is_json_whatever_its_content_type_says(gate: Serving, content_type: str) -> None:
    answer = await gate.client.post(INCREMENT, content=b'{"by": 3}', headers={"content-type": content_type})
    assert answer.text == "3"


async def test_a_call_without_a_body_has_no_arguments(gate: Serving) -> None:
    assert (await gate.client.post(INCREMENT)).text == "1"


async def test_v1_is_an_alias(gate: Serving) -> None:
    await gate.client.post("/v1" + INCREMENT, json={"by": 2})
    assert (await gate.client.get(C1)).json() == {"value": 2}
    created = await gate.client.put("/v1/objects/Counter/new")
    assert created.headers["location"] == "/v1/objects/Counter/new"


async def test_invalid_arguments_are_listed(gate: Serving) -> None:
    problem = is_problem(await gate.client.post(INCREMENT, json={"by": "x"}), 422, "invalid_arguments")
    assert problem["errors"][0]["path"] == "/by"
    is_problem(await gate.client.post(INCREMENT, content=b"{"), 400, "malformed_request")
    is_problem(await gate.client.post(INCREMENT, content=b"\xff\xfe"), 400, "malformed_request")


async def test_a_business_error_has_the_applications_code_and_detail(gate: Serving) -> None:
    answer = await gate.client.post(f"{C1}/call/withdraw", json={"amount": 5})
    problem = is_problem(answer, 402, "insufficient_funds")
    assert (problem["detail"], problem["balance"], problem["retryable"]) == ("there are 0", 0, False)


async def test_an_unexpected_error_of_the_object_is_not_shown(gate: Serving) -> None:
    answer = await gate.client.post(f"{C1}/call/fail")
    is_problem(answer, 500, "method_failed")
    assert "swordfish" not in answer.text
    assert "Traceback" not in answer.text


async def test_an_unexpected_error_of_the_gate_is_logged_and_not_shown(
    gate: Serving, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(request: Request, _waiter: Waiter) -> None:
        raise ZeroDivisionError(f"inside {request.method}")

    monkeypatch.setattr(gate.app.objects.operations, "carry", broken)
    answer = await gate.client.post(INCREMENT)
    is_problem(answer, 500, "internal_error")
    assert "inside" not in answer.text
    assert "ZeroDivisionError" in caplog.text


async def test_errors_for_unknown_names_list_the_known_ones(gate: Serving) -> None:
    assert "Counter" in is_problem(await gate.client.post("/objects/Nope/a/call/x"), 404, "unknown_type")["detail"]
    assert "increment" in is_problem(await gate.client.post(f"{C1}/call/_hidden"), 404, "unknown_method")["detail"]
    is_problem(await gate.client.post(f"{C1}/call/on_create"), 404, "unknown_method")
    is_problem(await gate.client.get("/objects/Counter/c1/watch"), 404, "unknown_path")
    is_problem(await gate.client.get("/objects/Counter/c1/call/increment/more"), 404, "unknown_path")
    is_problem(await gate.client.get("/objects"), 404, "unknown_path")


async def test_a_call_without_its_segment_is_told_the_path(gate: Serving) -> None:
    wrong = is_problem(await gate.client.post(f"{C1}/increment"), 404, "unknown_path")["detail"]
    assert wrong.endswith(f"; did you mean '{C1}/call/increment'?")
    assert "did you mean" not in is_problem(await gate.client.post(f"{C1}/other"), 404, "unknown_path")["detail"]


async def test_the_headers_reach_the_object(gate: Serving) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    headers = {
        "GoVerse-Namespace": "shop",
        "GoVerse-Request-Id": "mine-1",
        "Idempotency-Key": '"k 1"',
        "If-Match": "*",
        "traceparent": trace,
        "tracestate": "congo=t61",
    }
    await gate.client.put(C1, headers={"GoVerse-Namespace": "shop"})
    answer = await gate.client.post(INCREMENT, headers=headers)
    assert answer.headers["goverse-request-id"] == "mine-1"
    sent = gate.link.requests[-1]
    assert sent.key == ("shop", "Counter", "c1")
    assert (sent.request_id, sent.idempotency_key, sent.if_match) == ("mine-1", "k 1", MUST_EXIST)
    assert (sent.traceparent, sent.tracestate) == (trace, "congo=t61")
    for operation in ("GET", "PUT", "DELETE"):
        await gate.client.request(operation, C1, headers={"traceparent": trace, "tracestate": "congo=t61"})
        sent = gate.link.requests[-1]
        assert (sent.traceparent, sent.tracestate) == (trace, "congo=t61")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("If-Match", "x"),
        ("Idempotency-Key", ""),
        ("GoVerse-Timeout", "soon"),
        ("GoVerse-Namespace", "/"),
        ("GoVerse-Min-Seq", "-1"),
    ],
)
async def test_an_invalid_header_is_refused_before_the_object_is_called(gate: Serving, name: str, value: str) -> None:
    is_problem(await gate.client.post(INCREMENT, headers={name: value}), 400, "malformed_request")
    assert gate.link.requests == []


@pytest.mark.requirement("DUR-2")
async def test_a_retry_gets_the_same_bytes_and_is_marked(gate: Serving) -> None:
    headers = {"Idempotency-Key": "once"}
    first = await gate.client.post(INCREMENT, json={"by": 2}, headers=headers)
    again = await gate.client.post(INCREMENT, json={"by": 2}, headers=headers)
    assert (again.content, again.status_code, again.headers["etag"]) == (first.content, 200, first.headers["etag"])
    assert again.headers["idempotency-replayed"] == "true"
    is_problem(await gate.client.post(INCREMENT, json={"by": 9}, headers=headers), 409, "idempotency_key_mismatch")


@pytest.mark.requirement("DUR-2")
async def test_a_repeated_refusal_is_the_same_byte_for_byte(gate: Serving) -> None:
    async def withdraw() -> httpx.Response:
        return await gate.client.post(f"{C1}/call/withdraw", json={"amount": 5}, headers={"Idempotency-Key": "k"})

    first, again = await withdraw(), await withdraw()
    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert first.headers["goverse-request-id"] != again.headers["goverse-request-id"]


async def test_an_old_version_is_refused(gate: Serving) -> None:
    await gate.client.post(INCREMENT)
    is_problem(await gate.client.post(INCREMENT, headers={"If-Match": '"7"'}), 412, "version_mismatch")
    assert (await gate.client.post(INCREMENT, headers={"If-Match": '"1"'})).text == "2"


async def test_a_position_that_is_not_visible_yet_is_unavailable(gate: Serving) -> None:
    answer = await gate.client.get(C1, headers={"GoVerse-Min-Seq": "5"})
    is_problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"] == "1"
    await gate.client.post(INCREMENT)
    assert (await gate.client.get(C1, headers={"GoVerse-Min-Seq": "1"})).status_code == 200


# --- create, read, delete, list ---------------------------------------------------------------------------------------


async def test_a_put_creates_once(gate: Serving) -> None:
    room = "/objects/Room/lobby"
    created = await gate.client.put(room, json={"topic": "all"})
    assert (created.status_code, created.json()) == (201, {"id": "lobby", "version": 1})
    assert (created.headers["location"], created.headers["etag"]) == (room, '"1"')
    existed = await gate.client.put(room, json={"topic": "all"})
    assert (existed.status_code, existed.json()) == (200, {"id": "lobby", "version": 1})
    exclusive = await gate.client.put(room, json={"topic": "all"}, headers={"If-None-Match": "*"})
    is_problem(exclusive, 409, "object_exists")
    is_problem(await gate.client.put("/objects/Room/x", json={}), 422, "invalid_arguments")


async def test_a_post_creates_under_a_new_id(gate: Serving) -> None:
    created = await gate.client.post("/objects/Room", json={"topic": "all"})
    assert created.status_code == 201
    assert created.headers["location"] == "/objects/Room/" + created.json()["id"]
    assert (await gate.client.get(created.headers["location"])).json()["topic"] == "all"


@pytest.mark.requirement("DUR-2")
async def test_a_repeated_post_creates_one_object(gate: Serving) -> None:
    headers = {"Idempotency-Key": "once"}
    first = await gate.client.post("/objects/Room", json={"topic": "all"}, headers=headers)
    again = await gate.client.post("/objects/Room", json={"topic": "all"}, headers=headers)
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotency-replayed"] == "true"
    assert len((await gate.client.get("/objects/Room")).json()["items"]) == 1


async def test_a_read_returns_the_state_or_304(gate: Serving) -> None:
    is_problem(await gate.client.get(C1), 404, "object_not_found")
    await gate.client.post(INCREMENT, json={"by": 2})
    answer = await gate.client.get(C1)
    assert (answer.json(), answer.headers["etag"]) == ({"value": 2}, '"1"')
    unchanged = await gate.client.get(C1, headers={"If-None-Match": answer.headers["etag"]})
    assert (unchanged.status_code, unchanged.content, unchanged.headers["etag"]) == (304, b"", '"1"')
    await gate.client.post(INCREMENT)
    assert (await gate.client.get(C1, headers={"If-None-Match": '"1"'})).status_code == 200


async def test_a_deleted_object_is_gone_and_its_successor_has_a_higher_version(gate: Serving) -> None:
    is_problem(await gate.client.delete(C1), 404, "object_not_found")
    await gate.client.post(INCREMENT)
    deleted = await gate.client.delete(C1)
    assert (deleted.status_code, deleted.content, deleted.headers["goverse-commit-seq"]) == (204, b"", "2")
    assert "content-length" not in deleted.headers
    is_problem(await gate.client.get(C1), 404, "object_not_found")
    assert (await gate.client.post(INCREMENT)).headers["etag"] == '"3"'


@pytest.mark.requirement("OBJ-3")
@pytest.mark.parametrize("name", ["a%2Fb", "%2E%2E", "%20", "%C3%A9", "a%00b", "%25", "%E6%97%A5%E6%9C%AC", "a+b", "~"])
async def test_ids_of_any_form_are_returned_unchanged(gate: Serving, name: str) -> None:
    url = f"/objects/Counter/{name}"
    await gate.client.post(f"{url}/call/increment", json={"by": 4})
    assert (await gate.client.get(url)).json() == {"value": 4}
    listed = (await gate.client.get("/objects/Counter")).json()["items"]
    assert [item["id"] for item in listed] == [httpx.URL(f"http://x/{name}").path[1:]]


async def test_a_listing_continues_with_its_cursor_to_the_end(gate: Serving) -> None:
    wanted = [f"k{number:02}" for number in range(7)]
    for name in [*reversed(wanted), "other"]:
        await gate.client.put(f"/objects/Counter/{name}")
    found: list[str] = []
    query: dict[str, Any] = {"limit": 3, "prefix": "k"}
    pages = 0
    while True:
        page = (await gate.client.get("/objects/Counter", params=query)).json()
        found += [item["id"] for item in page["items"]]
        pages += 1
        if page["cursor"] is None:
            break
        query["cursor"] = page["cursor"]
    assert (found, pages) == (wanted, 3)
    assert page["items"][0].keys() == {"id", "version"}
    is_problem(await gate.client.get("/objects/Counter?cursor=nonsense!"), 400, "malformed_request")
    is_problem(await gate.client.get("/objects/Counter?limit=0"), 400, "malformed_request")


# --- methods ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        (INCREMENT, "OPTIONS, POST"),
        (C1, "DELETE, GET, HEAD, OPTIONS, PUT"),
        ("/objects/Counter", "GET, HEAD, OPTIONS, POST"),
        ("/healthz", "GET, HEAD, OPTIONS"),
        ("/admin/log-level", "GET, HEAD, OPTIONS, PUT"),
    ],
)
async def test_an_unsupported_method_is_refused_with_the_supported_ones(gate: Serving, path: str, allow: str) -> None:
    answer = await gate.client.request("PATCH", path)
    is_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == allow
    options = await gate.client.options(path)
    assert (options.status_code, options.headers["allow"], options.content) == (204, allow, b"")


@pytest.mark.parametrize(
    "path", [C1, "/objects/Counter", "/healthz", "/docs", "/openapi.json", "/objects/Counter/none"]
)
async def test_head_returns_the_headers_of_get(gate: Serving, path: str) -> None:
    await gate.client.post(INCREMENT)
    wanted = {"accept-encoding": "identity"}
    head, get = await gate.client.head(path, headers=wanted), await gate.client.get(path, headers=wanted)
    different = {"date", "goverse-request-id", "content-length"}
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert {name: head.headers[name] for name in head.headers if name not in different} == {
        name: get.headers[name] for name in get.headers if name not in different
    }
    assert abs(int(head.headers["content-length"]) - int(get.headers["content-length"])) <= 1  # the request id may grow


@pytest.mark.requirement("GATE-10")
async def test_every_answer_has_a_request_id_of_its_own(gate: Serving) -> None:
    paths = [C1, "/healthz", "/nope", "/objects/Nope", "/docs"]
    ids = [(await gate.client.get(path)).headers["goverse-request-id"] for path in paths]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[0-9a-f]{12}-[0-9a-f]+", name) for name in ids)
    assert (await gate.client.get("/nope", headers={"X-Request-Id": "mine"})).headers["goverse-request-id"] == "mine"


@pytest.mark.requirement("GATE-10", "OBS-3")
@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/objects/Counter/none", None, 404),
        ("POST", "/objects/Counter/c1/call/withdraw", {"amount": 5}, 402),
        ("POST", "/objects/Counter/c1/call/withdraw?", {"amount": 5}, 402),
        ("DELETE", "/objects/Counter/none", None, 404),
    ],
)
async def test_errors_of_normal_operation_are_not_logged(
    gate: Serving, caplog: pytest.LogCaptureFixture, *, method: str, path: str, body: Any, status: int
) -> None:
    caplog.set_level("INFO", "goverse.gate.access")
    assert (await gate.client.request(method, path, json=body)).status_code == status
    lost = await gate.client.post("/objects/Counter/c1/call/increment", headers={"If-Match": "7"})
    assert lost.status_code == 412
    assert [record for record in caplog.records if record.name == "goverse.gate.access"] == []


async def test_every_log_line_about_an_object_has_its_type(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "goverse.gate.access")
    async with serving(GateOptions(access_log="all")) as gate:
        await gate.client.put("/objects/Counter/c1")
        await gate.client.get("/objects/Counter/c1")
        await gate.client.get("/objects/Counter")
        await gate.client.post("/objects/Counter/c1/call/read")
        await gate.client.delete("/objects/Counter/c1")
    lines = [vars(record) for record in caplog.records if record.name == "goverse.gate.access"]
    assert [(line["object_type"], line["method"]) for line in lines] == [
        ("Counter", "create"),
        ("Counter", "read"),
        ("Counter", "list"),
        ("Counter", "read"),
        ("Counter", "delete"),
    ]


@pytest.mark.parametrize("path", ["/objects/None/" + "x" * 60_000, "/" + "y" * 60_000])
async def test_a_log_line_has_only_the_beginning_of_a_path(
    gate: Serving, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    caplog.set_level("INFO", "goverse.gate.access")
    assert (await gate.client.get(path)).status_code in (400, 404)
    (line,) = [record for record in caplog.records if record.name == "goverse.gate.access"]
    assert len(line.getMessage()) + len(vars(line)["path"]) < 1_024


async def test_failed_requests_are_logged_and_successful_ones_only_on_request(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "goverse.gate.access")
    async with serving() as gate:
        await gate.client.post(INCREMENT)
        await gate.client.post(f"{C1}/call/nope", headers={"X-Request-Id": "r7"})
        await gate.client.get("/nope", headers={"X-Request-Id": "r8"})
    lines = [vars(record) for record in caplog.records if record.name == "goverse.gate.access"]
    seen = [(line["request_id"], line["status"], line["code"]) for line in lines]
    assert seen == [("r7", 404, "unknown_method"), ("r8", 404, "unknown_path")]
    caplog.clear()
    async with serving(GateOptions(access_log="all")) as gate:
        await gate.client.post(INCREMENT)
        await gate.client.get("/healthz")
    fields = [vars(record) for record in caplog.records if record.name == "goverse.gate.access"]
    assert [(line["path"], line["status"]) for line in fields] == [(INCREMENT, 200), ("/healthz", 200)]
    assert (fields[0]["object_type"], fields[0]["method"]) == ("Counter", "increment")
    assert fields[0]["duration_ms"] >= 0
