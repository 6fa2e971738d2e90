"""Shared parts of the document: parameters, headers, the problem schema, and error responses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

import goverse.errors
from goverse.errors import GoverseError, summary_of
from goverse.limits import LIST_LIMIT, LIST_LIMIT_MAX
from goverse.model.catalog import ErrorDescription
from goverse_gate.openapi.components import Schema
from goverse_gate.problems import PROBLEM_TYPE_PREFIX, STATUS, title_of

Responses = dict[str, Any]

# The error codes of each operation, besides those of the application. Deliveries of reliable calls are answered between
# nodes only, so call_forgotten and out_of_order are not among them.
REQUEST_ERRORS: Final = ("malformed_request", "access_denied", "unknown_type", "overloaded", "internal_error")
MOMENT_ERRORS: Final = ("unavailable", "draining", "store_failed", "timeout")
BODY_ERRORS: Final = ("too_large", "invalid_arguments", "unsupported_media_type", "unsupported_transfer_encoding")
KEY_ERRORS: Final = ("idempotency_key_mismatch", "idempotency_in_progress")

CALL_ERRORS: Final = (
    *REQUEST_ERRORS,
    *BODY_ERRORS,
    *KEY_ERRORS,
    *MOMENT_ERRORS,
    "unknown_method",
    "object_exists",
    "object_not_found",
    "version_mismatch",
    "deadlock",
    "reentrancy_conflict",
    "call_id_mismatch",
    "method_failed",
    "readonly_violation",
    "suspected_crash",
    "state_invalid",
    "state_not_storable",
    "kept_result_mismatch",
)
CREATE_ERRORS: Final = (
    *REQUEST_ERRORS,
    *BODY_ERRORS,
    *KEY_ERRORS,
    *MOMENT_ERRORS,
    "object_exists",
    "object_not_found",
    "version_mismatch",
    "deadlock",
    "reentrancy_conflict",
    "call_id_mismatch",
    "method_failed",
    "state_invalid",
    "state_not_storable",
    "kept_result_mismatch",
)
READ_ERRORS: Final = (
    *REQUEST_ERRORS,
    *MOMENT_ERRORS,
    "object_not_found",
    "version_mismatch",
    "method_failed",
    "state_invalid",
)
DELETE_ERRORS: Final = (
    *READ_ERRORS,
    *KEY_ERRORS,
    "object_exists",
    "too_large",
    "deadlock",
    "reentrancy_conflict",
    "call_id_mismatch",
    "kept_result_mismatch",
)
PAGE_ERRORS: Final = ("malformed_request", "access_denied", "internal_error")
LIST_ERRORS: Final = (*REQUEST_ERRORS, *MOMENT_ERRORS)

PROBLEM: Final[Schema] = {
    "title": "Problem",
    "description": "An error (RFC 9457). `code` is stable; additional members depend on it.",
    "type": "object",
    "properties": {
        "type": {"type": "string", "format": "uri", "description": "The kind of error, as a URI."},
        "title": {"type": "string", "description": "The kind of error in a few words."},
        "status": {"type": "integer", "minimum": 400, "maximum": 599, "description": "The HTTP status."},
        "detail": {"type": "string", "description": "A description of this occurrence, for people."},
        "code": {"type": "string", "description": "The stable code of the error, for programs."},
        "retryable": {"type": "boolean", "description": "True if the same request may succeed later."},
        "request_id": {"type": "string", "description": "The request id, to find the request in the logs."},
        "rule": {"type": "string", "description": "The rule that denied the request, with `access_denied`."},
        "setting": {"type": "string", "description": "The setting that would allow the request, if one exists."},
        "errors": {
            "type": "array",
            "description": "The invalid fields, with `invalid_arguments`.",
            "items": {
                "type": "object",
                "properties": {
                    "path": {"type": "string", "description": "A JSON pointer to the field."},
                    "message": {"type": "string"},
                },
                "required": ["path", "message"],
            },
        },
    },
    "required": ["type", "title", "status", "detail", "code", "retryable", "request_id"],
    "additionalProperties": True,
}
SUMMARY: Final[Schema] = {
    "title": "ObjectSummary",
    "description": "The id and the current version of an object.",
    "type": "object",
    "properties": {"id": {"type": "string"}, "version": {"type": "integer", "minimum": 1}},
    "required": ["id", "version"],
}
PAGE: Final[Schema] = {
    "title": "ObjectPage",
    "description": "One page of a listing.",
    "type": "object",
    "properties": {
        "items": {"type": "array", "items": {"$ref": "#/components/schemas/ObjectSummary"}},
        "cursor": {
            "type": ["string", "null"],
            "description": "The cursor of the next page; null on the last page.",
        },
    },
    "required": ["items", "cursor"],
}

_VERSION_TAG: Final = r'(W/)?"[0-9]{1,18}(\.[0-9a-f]{8})?"'

HEADERS: Final[dict[str, Any]] = {
    "ETag": {
        "description": "The version of the object. Followed by a checksum for types whose representation can change "
        "without a new version.",
        "schema": {"type": "string", "pattern": r'^"[0-9]+(\.[0-9a-f]{8})?"$'},
    },
    "GoVerse-Commit-Seq": {
        "description": "The newest commit that the response depends on.",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
    "GoVerse-Request-Id": {
        "description": "The request id, to find the request in the logs.",
        "schema": {"type": "string"},
    },
    "Idempotency-Replayed": {
        "description": "The response is the stored response of an earlier request with the same idempotency key.",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "Location": {"description": "The path of the new object.", "schema": {"type": "string"}},
    "CallLocation": {"description": "The path of the state of the call.", "schema": {"type": "string"}},
    "Preference-Applied": {
        "description": "The preferences that the response takes into account.",
        "schema": {"type": "string", "pattern": "^respond-async(, wait=[0-9]+)?$"},
    },
    "Retry-After": {
        "description": "The number of seconds to wait before a retry.",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
}
PARAMETERS: Final[dict[str, Any]] = {
    "ObjectId": {
        "name": "id",
        "in": "path",
        "required": True,
        "description": "The id of the object: 1 to 512 bytes of UTF-8, percent-encoded (including `/`). `watch`, "
        "`changes` and `query` are reserved.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 512},
        "example": "c1",
    },
    "IdempotencyKey": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "A unique value for one intended effect. A retry with the same key has no second effect and "
        "gets the response of the first request. Keys cannot begin with `gv-` or `~`.",
        "schema": {
            "type": "string",
            "pattern": r'^("[ !#-\[\]-}][ !#-\[\]-~]{0,254}"|[!#-}]([ !#-~]{0,253}[!#-~])?)$',
        },
    },
    "IfMatch": {
        "name": "If-Match",
        "in": "header",
        "description": 'Succeed only if the object has this version (`"7"`), has one of a list of versions, or exists '
        "(`*`).",
        "schema": {
            "type": "string",
            "pattern": rf"^({_VERSION_TAG}( *, *{_VERSION_TAG}){{0,15}}|[0-9]{{1,18}}|\*)$",
        },
    },
    "IfNoneMatchVersion": {
        "name": "If-None-Match",
        "in": "header",
        "description": "Return 304 if the object still has this version.",
        "schema": {"type": "string", "pattern": r'^(\*|[0-9]{1,18}|(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*)$'},
    },
    "IfNoneMatchAny": {
        "name": "If-None-Match",
        "in": "header",
        "description": "With `*`: fail with `object_exists` if the object already exists.",
        "schema": {"type": "string", "enum": ["*"]},
    },
    "Namespace": {
        "name": "GoVerse-Namespace",
        "in": "header",
        "description": "The namespace of the object. The default is `default`.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"},
    },
    "Timeout": {
        "name": "GoVerse-Timeout",
        "in": "header",
        "description": "The timeout of the request in seconds. Values outside the gate's limits are adjusted to them.",
        "schema": {"type": "string", "pattern": r"^[0-9]{1,9}(\.[0-9]{1,9})?$"},
    },
    "Prefer": {
        "name": "Prefer",
        "in": "header",
        "description": "With `respond-async`: answer with 202 as soon as the call is durable, and run it afterwards. "
        "With `respond-async, wait=5`: answer with the result if the call ends within 5 seconds. Other preferences are "
        "ignored (RFC 7240).",
        "schema": {"type": "string"},
    },
    "Delay": {
        "name": "GoVerse-Delay",
        "in": "header",
        "description": "With `Prefer: respond-async`: run the call after this number of seconds. Instead, "
        "`GoVerse-Not-Before` takes a time (RFC 3339 or an HTTP date).",
        "schema": {"type": "string", "pattern": r"^[0-9]{1,7}(\.[0-9]{1,9})?$"},
    },
    "Cursor": {
        "name": "cursor",
        "in": "query",
        "description": "The `cursor` of the previous page.",
        "schema": {"type": "string", "minLength": 2, "pattern": "^[A-Za-z0-9_-]+$"},
    },
    "Limit": {
        "name": "limit",
        "in": "query",
        "description": "The largest number of objects per page.",
        "schema": {"type": "integer", "minimum": 1, "maximum": LIST_LIMIT_MAX, "default": LIST_LIMIT},
    },
    "Prefix": {
        "name": "prefix",
        "in": "query",
        "description": "List only objects whose ids begin with this prefix.",
        "schema": {"type": "string", "maxLength": 512},
    },
}


def reference(kind: str, name: str) -> dict[str, str]:
    """Return a reference to a component."""
    return {"$ref": f"#/components/{kind}/{name}"}


def success_headers(*names: str) -> dict[str, Any]:
    """Return the headers of a success response: ``names`` and the request id."""
    return {name: reference("headers", name) for name in sorted((*names, "GoVerse-Request-Id"))}


class ErrorResponses:
    """Error responses by status.

    Operations with the same error codes share a response component. A response with business errors is not shared.
    """

    def __init__(self) -> None:
        """Start without shared responses."""
        self.shared: Responses = {}

    def of(self, codes: Iterable[str], business: Iterable[ErrorDescription] = ()) -> Responses:
        """Return the error responses of an operation."""
        details: dict[int, dict[str, str]] = {}
        for code in sorted(set(codes)):
            details.setdefault(STATUS[code], {})[code] = DETAILS[code]
        own: set[int] = set()
        for error in business:
            status = STATUS.get(error.code, error.status)
            details.setdefault(status, {})[error.code] = error.detail
            own.add(status)
        return {
            str(status): _response(status, found) if status in own else self._share(status, found)
            for status, found in sorted(details.items())
        }

    def _share(self, status: int, details: Mapping[str, str]) -> Responses:
        base = HTTPStatus(status).phrase.title().replace(" ", "").replace("-", "")
        response = _response(status, details)
        name, number = base, 2
        while self.shared.setdefault(name, response) != response:
            name = f"{base}{number}"
            number += 1
        return reference("responses", name)


def _response(status: int, details: Mapping[str, str]) -> Responses:
    headers = {"GoVerse-Request-Id": reference("headers", "GoVerse-Request-Id")}
    if status in (429, 503):
        headers["Retry-After"] = reference("headers", "Retry-After")
    return {
        "description": "\n".join(f"* `{code}`: {detail}" for code, detail in details.items()),
        "headers": headers,
        "content": {
            "application/problem+json": {
                "schema": reference("schemas", "Problem"),
                "examples": {code: {"value": _example(status, code, detail)} for code, detail in details.items()},
            }
        },
    }


def _example(status: int, code: str, detail: str) -> dict[str, Any]:
    return {
        "type": PROBLEM_TYPE_PREFIX + code,
        "title": title_of(code),
        "status": status,
        "detail": detail,
        "code": code,
        "retryable": code in RETRYABLE,
        "request_id": "5f0c2a9be1d7-2a",
    }


def _known_errors() -> list[type[GoverseError]]:
    found = [
        value for value in vars(goverse.errors).values() if isinstance(value, type) and issubclass(value, GoverseError)
    ]
    return sorted(found, key=lambda error: error.code)


DETAILS: Final = {error.code: summary_of(error) for error in _known_errors()}
RETRYABLE: Final = {error.code for error in _known_errors() if error.retryable}
