"""Request headers: ``collect`` picks the ones that matter in a single loop, ``read`` parses them.

Most calls have none of these headers, and nothing is allocated for them. An invalid header is rejected, never ignored,
with two exceptions: trace context (as the W3C specifies) and request ids (which only help with reading logs).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from goverse.errors import MalformedRequest, UnsupportedMediaType, UnsupportedTransferEncoding, VersionMismatch
from goverse.limits import CALL_TIMEOUT_S_MIN, IDEMPOTENCY_KEY_BYTES_MAX, REQUEST_ID_BYTES_MAX
from goverse.model.frames import MUST_EXIST, Problem
from goverse.model.keys import RESERVED_KEY_PREFIXES, check_namespace, reserved_key
from goverse.model.trace_context import NO_TRACE, TraceContext, checked

MEANINGFUL: Final = frozenset(
    {
        b"access-control-request-method",
        b"access-control-request-private-network",
        b"content-encoding",
        b"goverse-delay",
        b"goverse-min-seq",
        b"goverse-namespace",
        b"goverse-not-before",
        b"goverse-request-id",
        b"goverse-timeout",
        b"idempotency-key",
        b"if-match",
        b"if-none-match",
        b"origin",
        b"prefer",
        b"sec-fetch-dest",
        b"sec-fetch-mode",
        b"sec-fetch-site",
        b"traceparent",
        b"tracestate",
        b"transfer-encoding",
        b"x-request-id",
    }
)
_RESERVED: Final = tuple(prefix.encode() for prefix in RESERVED_KEY_PREFIXES)
_MAY_REPEAT: Final = frozenset({b"if-match", b"if-none-match", b"prefer", b"tracestate"})
_SPACE: Final = b" \t"  # not part of a value when it surrounds it

_TIMEOUT: Final = re.compile(rb"[0-9]{1,9}(\.[0-9]{1,9})?")
_KEY: Final = re.compile(rb'"([ !#-\[\]-~]+)"|([ !#-~]+)')
_SEQ: Final = re.compile(rb"[0-9]{1,20}")
# A compressing proxy appends its coding to the tag (Apache: -gzip) or makes the tag weak (nginx). The part behind the
# dot is a checksum of the state and is ignored when versions are compared.
_VERSION_TAG: Final = rb'(?:W/)?"([0-9]{1,18})(?:\.[0-9a-f]{8})?(?:[-;](?:gzip|br|deflate|zstd))?"'
_VERSION: Final = re.compile(_VERSION_TAG)
_VERSIONS: Final = re.compile(rb"%s(?:[ \t]*,[ \t]*%s)*" % (_VERSION_TAG, _VERSION_TAG))
_CODING: Final = re.compile(rb"[-;](?:gzip|br|deflate|zstd)$")
_MATCHES_MAX: Final = 16  # versions in one If-Match
_ETAG: Final = re.compile(rb'(?:W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_ETAGS: Final = re.compile(rb"%s(?:[ \t]*,[ \t]*%s)*" % (_ETAG.pattern, _ETAG.pattern))
_BARE_VERSION: Final = re.compile(rb"[0-9]{1,18}")
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._~:/+=@-]+")


@dataclass(slots=True, frozen=True)
class CallHeaders:
    """The parsed headers of one request. The defaults apply to a request without headers."""

    namespace: str
    timeout_s: float | None = None
    idempotency_key: str | None = None
    if_match: int | None = None
    min_seq: int = 0
    trace: TraceContext = NO_TRACE


def collect(headers: Iterable[tuple[bytes, bytes]]) -> tuple[bytes, bytes, dict[bytes, bytes]]:
    """Return Host, Content-Length, and a dictionary of the other headers that the gate evaluates.

    Raises:
        MalformedRequest: a header that must not be repeated is repeated.
    """
    host: bytes | None = None
    length = b""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name == b"host":
            if host is not None:
                raise MalformedRequest("the Host header is repeated")
            host = value
        elif name == b"content-length":
            length = value
        elif name in MEANINGFUL:
            value = value.strip(_SPACE)  # noqa: PLW2901  # the parser leaves tabs
            if name in found:
                if name not in _MAY_REPEAT:
                    raise MalformedRequest(f"the {name.decode()} header is repeated")
                value = found[name] + b", " + value  # noqa: PLW2901  # a repeated list header continues the list
            found[name] = value
    return host or b"", length, found


def check_encodings(found: Mapping[bytes, bytes]) -> None:
    """Check that the body has no encoding other than ``Transfer-Encoding: chunked``.

    Raises:
        UnsupportedTransferEncoding: the body has another transfer encoding.
        UnsupportedMediaType: the body is compressed.
    """
    transfer = found.get(b"transfer-encoding")
    if transfer is not None and transfer.lower() != b"chunked":
        raise UnsupportedTransferEncoding("unsupported Transfer-Encoding; only chunked is supported")
    content = found.get(b"content-encoding")
    if content is not None and content.lower() not in (b"", b"identity"):
        raise UnsupportedMediaType("Content-Encoding is not supported; send the JSON uncompressed")


def read(found: Mapping[bytes, bytes], default_namespace: str, timeout_s_max: float) -> CallHeaders:
    """Parse the headers in ``found``.

    Raises:
        MalformedRequest: a header is invalid.
    """
    namespace = found.get(b"goverse-namespace")
    timeout = found.get(b"goverse-timeout")
    key = found.get(b"idempotency-key")
    if_match = found.get(b"if-match")
    min_seq = found.get(b"goverse-min-seq")
    trace = found.get(b"traceparent")
    return CallHeaders(
        default_namespace if namespace is None else check_namespace(namespace.decode("latin-1")),
        None if timeout is None else _timeout_s(timeout, timeout_s_max),
        None if key is None else _idempotency_key(key),
        None if if_match is None else _if_match(if_match)[0],
        0 if min_seq is None else _min_seq(min_seq),
        NO_TRACE if trace is None else _trace(trace, found.get(b"tracestate", b"")),
    )


def request_id_of(found: Mapping[bytes, bytes]) -> str | None:
    """Return the client's request id, or None if it is missing, too long, or has characters that are not allowed."""
    value = found.get(b"goverse-request-id") or found.get(b"x-request-id")
    if value and len(value) <= REQUEST_ID_BYTES_MAX and _REQUEST_ID.fullmatch(value):
        return value.decode("ascii")
    return None


def is_exclusive_create(found: Mapping[bytes, bytes]) -> bool:
    """True if a create must fail when the object exists.

    Raises:
        MalformedRequest: ``If-None-Match`` is not ``*``, the only value that a create supports.
    """
    value = found.get(b"if-none-match")
    if value is None:
        return False
    if value.strip() != b"*":
        raise MalformedRequest("invalid If-None-Match: a create supports only *")
    return True


def other_match(found: Mapping[bytes, bytes], tried: int | None, problem: Problem) -> int | None:
    """Return the version for a retry after ``version_mismatch``: the object's current one, if ``If-Match`` lists it."""
    if problem.code != VersionMismatch.code:
        return None
    value = found.get(b"if-match", b"")
    present = problem.extra.get("version")
    if b"," not in value or present == tried or not isinstance(present, int):
        return None
    return present if present in _if_match(value) else None


def matches_tag(if_none_match: bytes, tag: bytes) -> bool:
    """True if ``If-None-Match`` contains ``tag``, which is given without quotes."""
    value = if_none_match.strip()
    return value in (b"*", tag) or any(_CODING.sub(b"", known) == tag for known in _ETAG.findall(value))


def check_etags(value: bytes) -> None:
    """Check the value of ``If-None-Match`` on a read.

    Raises:
        MalformedRequest: the value is neither ``*``, nor a bare version, nor a list of entity tags.
    """
    value = value.strip()
    if value != b"*" and _BARE_VERSION.fullmatch(value) is None and _ETAGS.fullmatch(value) is None:
        raise MalformedRequest('invalid If-None-Match: expected * or a list of versions such as "7"')


def _timeout_s(value: bytes, timeout_s_max: float) -> float:
    if _TIMEOUT.fullmatch(value) is None:
        raise MalformedRequest("invalid GoVerse-Timeout: expected a number of seconds, for example 2.5")
    return min(max(float(value), CALL_TIMEOUT_S_MIN), timeout_s_max)


def _idempotency_key(value: bytes) -> str:
    match = _KEY.fullmatch(value)
    key = b"" if match is None else match[1] or match[2]
    if not 1 <= len(key) <= IDEMPOTENCY_KEY_BYTES_MAX:
        raise MalformedRequest(
            f"invalid Idempotency-Key: expected 1 to {IDEMPOTENCY_KEY_BYTES_MAX} printable ASCII characters, with or "
            "without double quotes"
        )
    if key.startswith(_RESERVED):
        raise reserved_key()
    return key.decode("ascii")


def _if_match(value: bytes) -> list[int]:
    """Return the listed versions, newest first, because the newest is the most likely to match."""
    value = value.strip()
    if value == b"*":
        return [MUST_EXIST]
    if _BARE_VERSION.fullmatch(value):
        return [int(value)]
    if _VERSIONS.fullmatch(value) is None:
        raise MalformedRequest('invalid If-Match: expected *, a version such as "7", or a list of versions')
    versions = sorted({int(version) for version in _VERSION.findall(value)}, reverse=True)
    if len(versions) > _MATCHES_MAX:
        raise MalformedRequest(f"If-Match lists {len(versions)} versions; at most {_MATCHES_MAX} are allowed")
    return versions


def _trace(traceparent: bytes, tracestate: bytes) -> TraceContext:
    return checked(traceparent.decode("latin-1"), tracestate.decode("latin-1"))


def _min_seq(value: bytes) -> int:
    if _SEQ.fullmatch(value) is None:
        raise MalformedRequest("invalid GoVerse-Min-Seq: expected a commit_seq, which is a whole number")
    return int(value)
