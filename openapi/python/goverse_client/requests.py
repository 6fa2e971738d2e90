"""Requests to a gate, and the parsing of their responses."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, TypedDict, TypeVar, Unpack, cast
from urllib.parse import quote, urlencode

from goverse_client.errors import MalformedRequest, UnexpectedAnswer
from goverse_client.exchange import Answer, Request

T = TypeVar("T")

TIMEOUT_S_MAX: Final = 24 * 24 * 3600.0
_ETAG: Final = re.compile(r'(?:W/)?"([0-9]{1,19})(?:\.[0-9a-f]{8})?"')
_POSITION: Final = re.compile(r"[0-9]{1,39}")
_HEADER: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?")


class Choices(TypedDict, total=False):
    """The options that a handle can override; see ``Options``."""

    timeout_s: float
    idempotency_key: str | None
    if_match: int | None
    min_seq: int | None
    namespace: str


@dataclass(frozen=True, slots=True)
class Options:
    """Options of requests.

    Attributes:
        timeout_s: the timeout of a request with all its attempts, in seconds; at most 24 days.
        idempotency_key: the idempotency key. The gate runs requests with the same key once. None generates a key for
            each request.
        if_match: the version that the object must have, or None.
        min_seq: the commit that the response must include, or None. Pass ``Reply.commit_seq`` to read your own writes.
        namespace: the namespace of the objects.
        make_keys: False to send requests without a generated idempotency key. A request without a key is not retried
            if it may have run.
    """

    timeout_s: float = 30.0
    idempotency_key: str | None = None
    if_match: int | None = None
    min_seq: int | None = None
    namespace: str = ""
    make_keys: bool = True

    def but(self, **choices: Unpack[Choices]) -> Options:
        """Return a copy with ``choices`` applied."""
        return replace(self, **choices)


@dataclass(frozen=True, slots=True)
class Reply(Generic[T]):
    """A result with its metadata.

    Attributes:
        value: the result.
        version: the version of the object, or None.
        commit_seq: the newest commit that the response depends on, or None.
        replayed: True if this is the stored response of an earlier request with the same idempotency key.
        request_id: the request id in the gate's log.
    """

    value: T
    version: int | None
    commit_seq: int | None
    replayed: bool
    request_id: str


class Summary(TypedDict):
    """One object in a listing."""

    id: str
    version: int


class Page(TypedDict):
    """One page of a listing."""

    items: list[Summary]
    cursor: str | None


def call(type_name: str, object_id: str, method: str, arguments: Mapping[str, object], options: Options) -> Request:
    """Return the request for a call."""
    return _request("POST", f"{object_path(type_name, object_id)}/call/{_segment(method)}", arguments, options)


def create(type_name: str, object_id: str, arguments: Mapping[str, object], options: Options, *, new: bool) -> Request:
    """Return the request for a create with this id. With ``new`` the object must not exist."""
    request = _request("PUT", object_path(type_name, object_id), arguments, options)
    return replace(request, headers={**request.headers, "if-none-match": "*"}) if new else request


def create_any(type_name: str, arguments: Mapping[str, object], options: Options) -> Request:
    """Return the request for a create with an id that the gate generates."""
    return _request("POST", f"/objects/{_segment(type_name)}", arguments, options)


def read(type_name: str, object_id: str, options: Options) -> Request:
    """Return the request for the state of an object."""
    return _request("GET", object_path(type_name, object_id), None, options)


def delete(type_name: str, object_id: str, options: Options) -> Request:
    """Return the request for a delete."""
    return _request("DELETE", object_path(type_name, object_id), None, options)


def page(type_name: str, prefix: str, cursor: str | None, limit: int, options: Options) -> Request:
    """Return the request for a page of a listing. ``cursor`` is the one of the previous page, or None."""
    query: dict[str, str | int] = {"limit": limit}
    if prefix:
        query["prefix"] = prefix
    if cursor is not None:
        query["cursor"] = cursor
    return _request("GET", f"/objects/{_segment(type_name)}?{urlencode(query, quote_via=quote)}", None, options)


def object_path(type_name: str, object_id: str) -> str:
    """Return the path of an object.

    Raises:
        ValueError: the id is empty or longer than 512 bytes.
    """
    if not 1 <= len(object_id.encode()) <= 512:
        raise ValueError(f"an id must have 1 to 512 bytes of UTF-8, not {len(object_id.encode())}")
    return f"/objects/{_segment(type_name)}/{_segment(object_id)}"


def reply_of(answer: Answer) -> Reply[Any]:
    """Parse a success response.

    Raises:
        UnexpectedAnswer: the body is not valid JSON, or is nested too deeply.
    """
    headers = answer.headers
    try:
        value = None if answer.status == 204 else json.loads(answer.content)
    except (ValueError, RecursionError) as error:
        raise unexpected(answer, "cannot be parsed as JSON") from error
    etag = _ETAG.fullmatch(headers.get("etag", ""))
    seq = headers.get("goverse-commit-seq", "")
    return Reply(
        value,
        int(etag[1]) if etag else None,
        int(seq) if _POSITION.fullmatch(seq) else None,
        headers.get("idempotency-replayed") == "true",
        headers.get("goverse-request-id", ""),
    )


def page_of(answer: Answer, before: str | None) -> Page:
    """Parse a page of a listing. ``before`` is the cursor of the request.

    Raises:
        UnexpectedAnswer: the response is not a page, or its cursor is the one of the request.
    """
    page = _members(reply_of(answer).value)
    items, cursor = page.get("items"), page.get("cursor")
    if not isinstance(items, list) or not all(_is_summary(each) for each in cast("list[object]", items)):
        raise unexpected(answer, "is not a page of a listing")
    if cursor is not None and (not isinstance(cursor, str) or cursor == before):
        raise unexpected(answer, "is a page of a listing whose cursor does not advance")
    return cast("Page", page)


def created_id(answer: Answer) -> str:
    """Return the id of a created object.

    Raises:
        UnexpectedAnswer: the response does not contain the id.
    """
    found = _members(reply_of(answer).value).get("id")
    if not isinstance(found, str):
        raise unexpected(answer, "does not contain the id of the created object")
    return found


def unexpected(answer: Answer, what: str) -> UnexpectedAnswer:
    """Return the error for an invalid success response. ``what`` continues the sentence "the response ..."."""
    shown = answer.content[:200].decode(errors="replace")
    error = UnexpectedAnswer(f"the response (status {answer.status}) {what}: {shown!r}", status=answer.status)
    error.attempts = answer.attempts
    return error


def _is_summary(item: object) -> bool:
    fields = _members(item)
    return isinstance(fields.get("id"), str) and isinstance(fields.get("version"), int)


def _members(value: object) -> Mapping[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _segment(text: str) -> str:
    # Proxies would normalise a segment of dots, so the dots are encoded
    try:
        return quote(text, safe="") if text.strip(".") else "%2E" * len(text)
    except UnicodeEncodeError as error:
        raise MalformedRequest(f"{text!r} cannot be encoded as UTF-8") from error


def _json(arguments: Mapping[str, object]) -> bytes:
    try:
        return json.dumps(arguments, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise MalformedRequest(f"the arguments cannot be encoded as JSON: {error}") from error


def _header(name: str, value: str) -> str:
    if _HEADER.fullmatch(value) is None:
        raise MalformedRequest(
            f"invalid {name} {value!r}: expected printable ASCII characters without surrounding spaces"
        )
    return value


def _request(method: str, path: str, arguments: Mapping[str, object] | None, options: Options) -> Request:
    if not 0 < options.timeout_s <= TIMEOUT_S_MAX:
        raise MalformedRequest(f"timeout_s must be above 0 and at most {TIMEOUT_S_MAX:.0f}, not {options.timeout_s}")
    headers: dict[str, str] = {"accept": "application/json"}
    body = None
    if arguments is not None:
        headers["content-type"] = "application/json"
        body = _json(arguments)
    repeatable = method == "GET"
    if not repeatable:
        key = options.idempotency_key
        if key is None and options.make_keys:
            key = secrets.token_hex(16)
        if key is not None:
            headers["idempotency-key"] = _header("idempotency key", key)
            repeatable = True
    if options.if_match is not None:
        headers["if-match"] = f'"{options.if_match}"'
    if options.min_seq is not None:
        headers["goverse-min-seq"] = str(options.min_seq)
    if options.namespace:
        headers["goverse-namespace"] = _header("namespace", options.namespace)
    return Request(method, path, headers, body, options.timeout_s, repeatable)
