"""The part of the document for reliable calls: ``/calls``, ``/dead-letters`` and the answer 202.

The paths are those of ``goverse_gate.calls``, whose routes are plain ASGI and unknown to FastAPI.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from goverse.limits import CALL_WAIT_S_MAX, LIST_LIMIT, LIST_LIMIT_MAX
from goverse_gate.call_parameters import ENDS, STATES
from goverse_gate.openapi import answers
from goverse_gate.openapi.answers import ErrorResponses, reference, success_headers
from goverse_gate.openapi.components import Schema
from goverse_gate.preferences import DELAY_S_MAX

TAG: Final = "reliable calls"
ACCEPTED: Final = "Accepted"
"""The shared response to a call with ``Prefer: respond-async``."""

_BODY_ERRORS: Final = ("too_large", "unsupported_media_type", "unsupported_transfer_encoding")
_ERRORS: Final = ("malformed_request", "access_denied", "overloaded", "internal_error", *answers.MOMENT_ERRORS)
_ONE_ERRORS: Final = (*_ERRORS, "call_not_found")
_RESULT_ERRORS: Final = (*answers.CALL_ERRORS, "call_not_found", "call_pending", "call_redriven", "call_void")
_REDRIVE_ERRORS: Final = (*_ONE_ERRORS, *_BODY_ERRORS, "call_pending", "conflict", "invalid_arguments")

_ID: Final = "c_1f0c93a77b2e4d610017e3a9c05c2b7788e1d0f4a6c31b52"
_TIME: Final[Schema] = {"type": ["string", "null"], "format": "date-time"}
_OBJECT: Final[Schema] = {
    "type": "object",
    "properties": {"type": {"type": "string"}, "id": {"type": "string"}},
    "required": ["type", "id"],
}
_STATUS_FIELDS: Final[dict[str, Schema]] = {
    "id": {"type": "string", "description": "The id of the call."},
    "sender": {"description": "The object that sent it; for a submitted call, its receiver.", **_OBJECT},
    "receiver": {"description": "The object that it is for.", **_OBJECT},
    "method": {"type": "string"},
    "state": {
        "type": "string",
        "enum": list(STATES),
        "description": "`pending`; `running` during an attempt; or how the call ended. `failed` is a business error, "
        "`expired` and `cancelled` calls had no effect, `dead` is a dead letter.",
    },
    "attempts": {"type": "integer", "minimum": 0, "description": "The number of attempts that failed."},
    "sent_at": _TIME,
    "expires_at": _TIME,
    "next_attempt_at": {"description": "The time of the next attempt, if it is known.", **_TIME},
    "waits_for": {"type": ["string", "null"], "description": "The reason why the call is not running, for people."},
    "finished_at": _TIME,
    "problem": {
        "description": "The error of the latest attempt, or with which the call ended.",
        "type": ["object", "null"],
        "properties": {
            "code": {"type": "string"},
            "detail": {"type": "string"},
            "retryable": {"type": "boolean"},
        },
        "required": ["code", "detail", "retryable"],
    },
}
STATUS: Final[Schema] = {
    "title": "CallStatus",
    "description": "A reliable call. Times are in UTC.",
    "type": "object",
    "properties": _STATUS_FIELDS,
    "required": list(_STATUS_FIELDS),
}
PAGE: Final[Schema] = {
    "title": "CallPage",
    "description": "One page of calls.",
    "type": "object",
    "properties": {
        "items": {"type": "array", "items": {"$ref": "#/components/schemas/CallStatus"}},
        "cursor": answers.PAGE["properties"]["cursor"],
    },
    "required": ["items", "cursor"],
}
SCHEMAS: Final = {"CallPage": PAGE, "CallStatus": STATUS}

_REDRIVEN: Final[Schema] = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "redriven_as": {"type": "string"}},
    "required": ["id", "redriven_as"],
}
_NOT_REDRIVEN: Final[Schema] = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "problem": {
            "type": "object",
            "properties": {"code": {"type": "string"}, "detail": {"type": "string"}},
            "required": ["code", "detail"],
        },
    },
    "required": ["id", "problem"],
}
_AGE: Final[Schema] = {"type": "string", "pattern": "^[0-9]{1,9}[smhd]?$"}
_PLACE: Final[Schema] = {"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_]{0,62}/."}
_NAME: Final[Schema] = {"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_]{0,62}$"}
_STATE: Final[Schema] = {"type": "string", "enum": list(STATES)}
_LIMIT: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": LIST_LIMIT_MAX, "default": LIST_LIMIT}
_DELAY: Final[Schema] = {"type": "number", "minimum": 0, "maximum": DELAY_S_MAX}

PARAMETERS: Final[dict[str, Any]] = {
    "CallId": {
        "name": "id",
        "in": "path",
        "required": True,
        "description": "The id of the call, percent-encoded.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 128},
        "example": _ID,
    },
    "CallSender": {
        "name": "sender",
        "in": "query",
        "description": "The sender of the call as `Type/id`. It is needed if the sender chose the id.",
        "schema": _PLACE,
    },
    "Wait": {
        "name": "wait",
        "in": "query",
        "description": "Answer at the end of the call, or after this number of seconds.",
        "schema": {"type": "number", "minimum": 0, "maximum": CALL_WAIT_S_MAX, "multipleOf": 0.5},
    },
    "CallState": {"name": "state", "in": "query", "description": "Only calls in this state.", "schema": _STATE},
    "CallType": {
        "name": "type",
        "in": "query",
        "description": "Only calls to objects of this type.",
        "schema": _NAME,
    },
    "SentBy": {"name": "sender", "in": "query", "description": "Only calls that this object sent.", "schema": _PLACE},
    "SentTo": {"name": "receiver", "in": "query", "description": "Only calls to this object.", "schema": _PLACE},
    "OlderThan": {
        "name": "older_than",
        "in": "query",
        "description": "Only calls whose end or, before that, whose sending is longer ago: a number of seconds, or a "
        "number with `s`, `m`, `h` or `d`.",
        "schema": _AGE,
        "example": "30d",
    },
    "CallCursor": {
        "name": "cursor",
        "in": "query",
        "description": "The `cursor` of the previous page.",
        "schema": {"type": "string", "minLength": 1},
    },
}
_FILTERS: Final = ("CallType", "SentBy", "SentTo", "OlderThan", "CallCursor", "Limit")
_FIELDS: Final[dict[str, Schema]] = {
    "state": {"description": "Only calls in this state.", **_STATE},
    "type": {"description": "Only calls to objects of this type.", **_NAME},
    "sender": {"description": "Only calls that this object sent, as `Type/id`.", **_PLACE},
    "receiver": {"description": "Only calls to this object, as `Type/id`.", **_PLACE},
    "older_than": {
        "description": "Only calls that ended longer ago: seconds, or a number with `s`, `m`, `h` or `d`.",
        **_AGE,
    },
    "cursor": {"type": "string", "minLength": 1, "description": "The `cursor` of the previous page."},
    "limit": {"description": "The largest number of calls.", **_LIMIT},
    "delay": {"description": "The number of seconds after which the new call is due.", **_DELAY},
    "dry_run": {"type": "boolean", "description": "Only count the calls."},
    "arguments": {"type": "object", "description": "Arguments that replace those of the call."},
}


def accepted() -> dict[str, Any]:
    """Return the response ``ACCEPTED``."""
    headers = success_headers("GoVerse-Commit-Seq", "Idempotency-Replayed", "Preference-Applied", "Retry-After")
    headers["Location"] = reference("headers", "CallLocation")
    return {
        "description": "With `Prefer: respond-async`: the call is durable and runs later. `Location` has its status.",
        "headers": dict(sorted(headers.items())),
        "content": _json(reference("schemas", "CallStatus")),
    }


class CallPaths:
    """Builds the paths."""

    def __init__(self, errors: ErrorResponses) -> None:
        """Share the error responses of the document."""
        self._errors = errors

    def paths(self) -> dict[str, Any]:
        """Return the path items by path."""
        return self._of_calls() | self._of_letters()

    def _of_calls(self) -> dict[str, Any]:
        status, page = reference("schemas", "CallStatus"), reference("schemas", "CallPage")
        listing = self._operation("list_calls", "List reliable calls", "CallState", *_FILTERS)
        show = self._operation("show_call", "Show the state of a call, or wait for its end", "CallId", "Wait")
        cancel = self._operation("cancel_call", "Cancel a call that has not ended", "CallId", "CallSender")
        retry = self._operation("retry_call", "Start the next attempt of a call now", "CallId", "CallSender")
        skip = self._operation("skip_call", "Give up a call, so that the calls behind it continue", "CallId")
        for operation in (show, skip):
            operation["parameters"].insert(1, reference("parameters", "CallSender"))
        cancelled = {"description": "The call is cancelled, or had ended.", "headers": success_headers()}
        return {
            "/calls": {"get": self._answered(listing, "A page of calls.", page, _ERRORS)},
            "/calls/{id}": {
                "get": self._answered(show, "The state of the call.", status, _ONE_ERRORS),
                "delete": {**cancel, "responses": {"204": cancelled, **self._errors.of(_ONE_ERRORS)}},
            },
            "/calls/{id}/result": {"get": self._result()},
            "/calls/{id}/retry": {"post": self._answered(retry, "The state of the call.", status, _ONE_ERRORS)},
            "/calls/{id}/skip": {"post": self._answered(skip, "The state of the call.", status, _ONE_ERRORS)},
            "/calls/pause": {"post": self._pause("pause_calls", "Pause the calls from one object to another")},
            "/calls/resume": {"post": self._pause("resume_calls", "Resume the calls from one object to another")},
            "/calls/cleanup": {"post": self._clean_up()},
        }

    def _of_letters(self) -> dict[str, Any]:
        page = reference("schemas", "CallPage")
        listing = self._operation("list_dead_letters", "List dead letters", *_FILTERS)
        one = self._operation("redrive_dead_letter", "Send a dead letter again, as a new call", "CallId", "CallSender")
        one["requestBody"] = _body("delay", "arguments")
        made = _members(id={"type": "string", "description": "The id of the new call."})
        one = self._answered(one, "The dead letter was sent again, now or earlier.", made, _REDRIVE_ERRORS)
        one["responses"]["200"]["headers"] |= {"Location": reference("headers", "CallLocation")}
        many = self._operation("redrive_dead_letters", "Send a page of dead letters again")
        many["requestBody"] = _body("type", "sender", "receiver", "older_than", "cursor", "limit", "delay", "dry_run")
        sent = _members(
            matched={"type": "integer", "description": "The number of dead letters on the page."},
            redriven={"type": "array", "items": _REDRIVEN},
            failed={"type": "array", "items": _NOT_REDRIVEN, "description": "Dead letters that were refused."},
            cursor=answers.PAGE["properties"]["cursor"],
        )
        return {
            "/dead-letters": {"get": self._answered(listing, "A page of dead letters.", page, _ERRORS)},
            "/dead-letters/{id}/redrive": {"post": one},
            "/dead-letters/redrive": {"post": self._answered(many, "One page.", sent, (*_ERRORS, *_BODY_ERRORS))},
        }

    def _result(self) -> dict[str, Any]:
        operation = self._operation("call_result", "Return the stored response of a call", "CallId", "CallSender")
        described = self._answered(operation, "The result, as the call itself returns it.", {}, _RESULT_ERRORS)
        described["responses"]["200"]["headers"] = success_headers("ETag", "GoVerse-Commit-Seq")
        described["responses"]["4XX"] = {
            "description": "The business error with which the call ended.",
            "headers": success_headers(),
            "content": {"application/problem+json": {"schema": reference("schemas", "Problem")}},
        }
        return described

    def _pause(self, operation_id: str, summary: str) -> dict[str, Any]:
        operation = self._operation(operation_id, summary)
        fields = {
            name: {**_FIELDS[name], "description": f"The {name}, as `Type/id`."} for name in ("sender", "receiver")
        }
        operation["requestBody"] = {"required": True, "content": _json(_closed(fields, required=True))}
        made = _members(paused={"type": "boolean"})
        return self._answered(operation, "Whether the pair is paused now.", made, (*_ERRORS, *_BODY_ERRORS))

    def _clean_up(self) -> dict[str, Any]:
        operation = self._operation("clean_up_calls", "Remove ended calls, the oldest first; repeat until it returns 0")
        ended = {"state": {**_FIELDS["state"], "enum": list(ENDS)}}
        operation["requestBody"] = _body("state", "type", "older_than", "limit", "dry_run", **ended)
        made = _members(forgotten={"type": "integer", "description": "The number of calls that were removed."})
        return self._answered(operation, "One batch was removed.", made, (*_ERRORS, *_BODY_ERRORS))

    def _answered(
        self, operation: dict[str, Any], description: str, schema: Schema, codes: Iterable[str]
    ) -> dict[str, Any]:
        success = {"description": description, "headers": success_headers(), "content": _json(schema)}
        return {**operation, "responses": {"200": success, **self._errors.of(codes)}}

    def _operation(self, operation_id: str, summary: str, *parameters: str) -> dict[str, Any]:
        names = (*parameters, "Namespace", "Timeout")
        return {
            "operationId": operation_id,
            "tags": [TAG],
            "summary": summary,
            "parameters": [reference("parameters", name) for name in names],
        }


def _body(*names: str, **others: Schema) -> dict[str, Any]:
    fields = {name: _FIELDS[name] for name in names} | others
    return {"required": False, "content": _json(_closed(fields, required=False))}


def _closed(fields: dict[str, Schema], *, required: bool) -> Schema:
    schema: Schema = {"type": "object", "properties": fields, "additionalProperties": False}
    return {**schema, "required": list(fields)} if required else schema


def _members(**members: Schema) -> Schema:
    return {"type": "object", "properties": members, "required": list(members)}


def _json(schema: Schema) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
