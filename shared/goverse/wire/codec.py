"""Conversion between frames and protobuf messages, without IO. No other module knows both.

A frame that cannot be encoded (a lone surrogate, a number out of range) fails alone. Incoming data that cannot be
decoded is either one bad request, which is answered with an error, or a protocol violation, which ends the stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, cast

from google.protobuf.message import DecodeError

from goverse.errors import Deadlock, Executed, GoverseError, MalformedRequest, PeerError, Unavailable, known
from goverse.limits import (
    CALL_ID_BYTES_MAX,
    CALL_TIMEOUT_S_MAX,
    CALLER_BYTES_MAX,
    CHAIN_LENGTH_MAX,
    ID_BYTES_MAX,
    IDEMPOTENCY_KEY_BYTES_MAX,
    LIST_LIMIT_MAX,
    PEER_NAME_BYTES_MAX,
    PROBLEM_DETAIL_BYTES_MAX,
    RELEASE_RETRY_AFTER_S,
    REQUEST_ID_BYTES_MAX,
    SEND_DELAY_S_MAX,
)
from goverse.model.access import only_nodes
from goverse.model.call_ids import is_place
from goverse.model.caller import ANONYMOUS, identified
from goverse.model.frames import Operation, Problem, Reply, Request
from goverse.model.keys import CLIENT_DERIVED_KEY_PREFIX, DERIVED_KEY_PREFIX, ObjectKey, check_namespace, is_name
from goverse.model.problem_bounds import bounded_text
from goverse.model.receipts import PARTS, Delivery, number_of, place_of
from goverse.model.records import ObjectSummary
from goverse.model.trace_context import NO_TRACE, checked
from goverse.ports.link import Readiness
from goverse.wire.handshake import Hello
from goverse.wire.peer_role import PeerRole
from goverse.wire.problems import read_problem, write_problem
from goverse.wire.v1 import wire_pb2 as messages

REMAINING_MS_MAX: Final = 24 * 3600 * 1000  # longer than any timeout setting; keeps the field in its range
_OPERATIONS: Final[Mapping[int, Operation]] = {int(operation): operation for operation in Operation}
_NUMBERS: Final[Mapping[Operation, messages.Operation.ValueType]] = {
    operation: cast("messages.Operation.ValueType", int(operation)) for operation in Operation
}
_EARLIER_NUMBERS: Final = {operation: number for operation, number in _NUMBERS.items() if operation < Operation.SEND}
"""The operations of a release without reliable calls."""

_DERIVED_PREFIXES: Final = (DERIVED_KEY_PREFIX, CLIENT_DERIVED_KEY_PREFIX)
_NAMES_KNOWN_MAX: Final = 10_000
_VERSIONS_MAX: Final = 256
_SHOWN: Final = 40
_REASONS_MAX: Final = 20
_SEQ_MAX: Final = 2**63 - 1  # a bigint in the store
_UNSENDABLE: Final = (TypeError, ValueError, AttributeError)  # raised by protobuf for a value of the wrong type


def parse(data: bytes) -> messages.Envelope:
    """Decode an envelope.

    Raises:
        PeerError: ``data`` is not a valid envelope.
    """
    try:
        return messages.Envelope.FromString(data)
    except DecodeError as error:
        raise PeerError("the peer sent an invalid envelope") from error


# --- handshake --------------------------------------------------------------------------------------------------------


def write_hello(hello: Hello, message: messages.Hello) -> None:
    """Write our side of the handshake."""
    message.MergeFrom(
        messages.Hello(
            release=hello.release,
            versions=hello.versions,
            features=sorted(hello.features),
            kind=hello.kind,
            id=hello.id,
            incarnation=hello.incarnation,
            inflight_max=hello.inflight_max,
        )
    )


def read_hello(envelope: messages.Envelope) -> Hello:
    """Read the peer's side of the handshake.

    Raises:
        PeerError: the envelope has no ``hello``, or a field is out of bounds.
    """
    if not envelope.HasField("hello"):
        raise PeerError("the peer's first message has no hello")
    message = envelope.hello
    for what in ("kind", "id", "incarnation", "release"):
        text = getattr(message, what)
        if len(text) > PEER_NAME_BYTES_MAX or not text.isprintable():
            raise PeerError(f"the peer's {what} must have at most {PEER_NAME_BYTES_MAX} printable characters")
    if len(message.versions) > _VERSIONS_MAX or len(message.features) > _VERSIONS_MAX:
        raise PeerError(f"the peer lists more than {_VERSIONS_MAX} versions or features")
    return Hello(
        kind=message.kind,
        id=message.id,
        incarnation=message.incarnation,
        release=message.release,
        versions=tuple(message.versions),
        features=frozenset(message.features),
        inflight_max=message.inflight_max,
    )


# --- requests ---------------------------------------------------------------------------------------------------------


def write_requests(
    frames: Iterable[tuple[int, Request]], now: float, envelope: messages.Envelope, *, takes_deliveries: bool = True
) -> list[tuple[int, GoverseError]]:
    """Append requests to the envelope. Returns those that cannot be encoded or sent to this peer, with the error.

    A peer without the feature "deliveries" would run a delivery as an ordinary call, so none is sent to it. It knows no
    SEND and no CALLS either.
    """
    failed: list[tuple[int, GoverseError]] = []
    numbers = _NUMBERS if takes_deliveries else _EARLIER_NUMBERS
    requests = envelope.requests
    add = requests.add
    for number, request in frames:
        message = add()
        try:
            message.id = number
            if request.delivery is not None:
                _write_delivery(request.delivery, message.delivery, takes_deliveries=takes_deliveries)
            _write_request(request, now, message, numbers)
        except Unavailable as error:
            requests.pop()
            failed.append((number, error))
        except KeyError:
            requests.pop()
            failed.append((number, _of_an_earlier_release("try again")))
        except _UNSENDABLE as error:
            requests.pop()
            failed.append((number, known(MalformedRequest(f"the request cannot be encoded: {error}"), Executed.NO)))
    return failed


def _write_delivery(delivery: Delivery, message: messages.Delivery, *, takes_deliveries: bool) -> None:
    """Write the part of a request that makes it a delivery.

    Raises:
        Unavailable: the peer runs a release that does not know deliveries.
    """
    if not takes_deliveries:
        raise known(_of_an_earlier_release("the call is repeated"), Executed.NO)
    message.sender.namespace, message.sender.type, message.sender.id = delivery.sender
    message.seq, message.part = place_of(delivery.number)
    message.prev_seq, message.prev_part = place_of(delivery.prev)
    message.head_seq, message.head_part = place_of(delivery.head)
    message.attempt = delivery.attempt
    message.void = delivery.void
    message.id = delivery.id
    message.sent_ms = delivery.sent_ms
    message.alone = delivery.alone


def _of_an_earlier_release(then: str) -> Unavailable:
    """Return the error for a request to a peer that knows no reliable calls.

    Without ``executed``, a router answers with it at once: an upgrade takes longer than a caller waits.
    """
    return Unavailable(
        f"the node runs a release without reliable calls; an upgrade is in progress, {then} later",
        retry_after_s=RELEASE_RETRY_AFTER_S,
    )


def _write_request(
    request: Request,
    now: float,
    message: messages.Request,
    numbers: Mapping[Operation, messages.Operation.ValueType],
) -> None:
    message.operation = numbers[request.operation]
    message.namespace, message.type, message.object_id = request.key
    message.method = request.method
    message.body = request.body
    message.remaining_ms = remaining_ms(request.deadline - now)
    message.request_id = request.request_id
    if request.idempotency_key is not None:
        message.idempotency_key = request.idempotency_key
    if request.if_match is not None:
        message.if_match = request.if_match
    if request.caller is not ANONYMOUS:
        message.caller = request.caller.subject
    if request.traceparent:
        message.traceparent = request.traceparent
        if request.tracestate:
            message.tracestate = request.tracestate
    if request.attempt:
        message.attempt = request.attempt
    if request.fresh_key:
        message.fresh_key = True
    if request.reads_only:
        message.reads_only = True
    if request.delay_ms:
        message.delay_ms = request.delay_ms
    if request.chain:
        for namespace, type_name, object_id in request.chain:
            message.chain.add(namespace=namespace, type=type_name, id=object_id)


def remaining_ms(seconds: float) -> int:
    """Return the time left until a deadline in whole milliseconds, rounded up, never negative."""
    if seconds <= 0:
        return 0
    return min(int(seconds * 1000) + 1, REMAINING_MS_MAX) if seconds < REMAINING_MS_MAX else REMAINING_MS_MAX


class RequestReader:
    """Decodes the requests of one peer; caches names that it has already checked."""

    __slots__ = ("_from_gate", "_methods", "_namespaces", "_remaining_ms_max", "_types")

    def __init__(self, call_timeout_s_max: float = CALL_TIMEOUT_S_MAX, *, role: PeerRole = PeerRole.NODE) -> None:
        """Cap deadlines at ``call_timeout_s_max`` from now, and refuse what a peer of this role may not send."""
        self._from_gate = role is PeerRole.GATE
        self._remaining_ms_max = call_timeout_s_max * 1000
        self._namespaces: set[str] = set()
        self._types: set[str] = set()
        self._methods: set[str] = {""}

    def read(self, message: messages.Request, now: float) -> Request:
        """Decode a request, and check the bounds that a gate enforces. Its deadline is on the clock of ``now``.

        Raises:
            MalformedRequest: the operation is unknown (a newer peer), or a field is out of bounds.
            Deadlock: the call chain is longer than objects may make it.
            AccessDenied: the peer is a gate, and only a node may send the request.
        """
        delivery = self._delivery(message) if message.HasField("delivery") else None
        operation = _OPERATIONS.get(message.operation)
        if operation is None:
            raise _unfit(f"unknown operation {message.operation}")
        key = message.idempotency_key if message.HasField("idempotency_key") else None
        if key is not None and not (key.isascii() and key.isprintable() and 1 <= len(key) <= IDEMPOTENCY_KEY_BYTES_MAX):
            raise _unfit(f"the idempotency key must be 1 to {IDEMPOTENCY_KEY_BYTES_MAX} printable ASCII characters")
        request_id, caller = message.request_id, message.caller
        chain = self._chain(message.chain) if message.chain else ()
        if self._from_gate and (chain or (key is not None and key.startswith(_DERIVED_PREFIXES))):
            part = "a call chain" if chain else "the idempotency key of a call between objects"
            raise known(only_nodes(part), Executed.NO)
        if not (request_id.isascii() and request_id.isprintable() and len(request_id) <= REQUEST_ID_BYTES_MAX):
            raise _out_of_bounds("request id", REQUEST_ID_BYTES_MAX)
        if caller and not (caller.isascii() and caller.isprintable() and len(caller) <= CALLER_BYTES_MAX):
            raise _out_of_bounds("caller", CALLER_BYTES_MAX)
        parent, state = checked(message.traceparent, message.tracestate) if message.traceparent else NO_TRACE
        request = Request(
            operation,
            self._key(message.namespace, message.type, message.object_id) if message.type else self._place(message),
            self._method(message.method),
            message.body,
            now + min(message.remaining_ms, self._remaining_ms_max) / 1000,
            request_id,
            key,
            message.if_match if message.HasField("if_match") else None,
            identified(caller) if caller else ANONYMOUS,
            parent,
            chain,
            message.attempt,
            message.fresh_key,
            message.reads_only,
            state,
            delivery,
        )
        if operation is Operation.SEND:
            request.delay_ms = _delay_ms(message)
        return request

    def _place(self, message: messages.Request) -> ObjectKey:
        """Decode the key of a request about a call whose sender is not known."""
        if message.operation != messages.OPERATION_CALLS:
            _check_name(message.type, "type")
        if message.namespace not in self._namespaces:
            check_namespace(message.namespace)
            _remember(self._namespaces, message.namespace)
        place = ObjectKey(message.namespace, "", message.object_id)
        if not is_place(place):
            raise _unfit(f"{message.object_id[:_SHOWN]!r} is not a place; it must be 16 hexadecimal digits")
        return place

    def _delivery(self, message: messages.Request) -> Delivery:
        """Decode the part of a request that makes it a delivery. No turn waits for one, so it has no call chain."""
        if self._from_gate:
            raise known(only_nodes("the delivery of a reliable call"), Executed.NO)
        if message.operation != messages.OPERATION_CALL or message.chain or message.HasField("idempotency_key"):
            raise _unfit("the delivery of a reliable call must be a call without call chain and idempotency key")
        sent = message.delivery
        if sent.seq > _SEQ_MAX or max(sent.part, sent.prev_part, sent.head_part) >= PARTS:
            raise _unfit(f"a number of the delivery is too large: parts are below {PARTS}, positions below 2^63")
        number = number_of(sent.seq, sent.part)
        prev, head = number_of(sent.prev_seq, sent.prev_part), number_of(sent.head_seq, sent.head_part)
        if not (prev < number and head <= number):
            raise _unfit("the numbers of the delivery are not in order: prev < number and head <= number must hold")
        if len(sent.id.encode()) > CALL_ID_BYTES_MAX:
            raise _unfit(f"the id of the reliable call has more than {CALL_ID_BYTES_MAX} bytes")
        sender = self._key(sent.sender.namespace, sent.sender.type, sent.sender.id)
        return Delivery(sender, number, prev, head, sent.attempt, sent.void, sent.id, sent.sent_ms, sent.alone)

    def _chain(self, chain: Sequence[messages.Key]) -> tuple[ObjectKey, ...]:
        if len(chain) > CHAIN_LENGTH_MAX:
            raise Deadlock(f"the call chain has {len(chain)} objects; {CHAIN_LENGTH_MAX} are allowed")
        return tuple(self._key(link.namespace, link.type, link.id) for link in chain)

    def _key(self, namespace: str, type_name: str, object_id: str) -> ObjectKey:
        if namespace not in self._namespaces:
            check_namespace(namespace)
            _remember(self._namespaces, namespace)
        if type_name not in self._types:
            _check_name(type_name, "type")
            _remember(self._types, type_name)
        size = len(object_id) if object_id.isascii() else len(object_id.encode())
        if not 1 <= size <= ID_BYTES_MAX:
            raise _unfit(f"the object id has {size} bytes; 1 to {ID_BYTES_MAX} are allowed")
        return ObjectKey(namespace, type_name, object_id)

    def _method(self, name: str) -> str:
        if name not in self._methods:
            _check_name(name, "method")
            _remember(self._methods, name)
        return name


def _delay_ms(message: messages.Request) -> int:
    if message.delay_ms > SEND_DELAY_S_MAX * 1000:
        raise _unfit(f"the delay has {message.delay_ms} ms; {round(SEND_DELAY_S_MAX * 1000)} are allowed")
    return message.delay_ms


def _out_of_bounds(what: str, size_max: int) -> MalformedRequest:
    return _unfit(f"the {what} must have at most {size_max} printable ASCII characters")


def _check_name(name: str, what: str) -> None:
    if not is_name(name):
        raise _unfit(f"invalid {what} name")


def _unfit(detail: str) -> MalformedRequest:
    return known(MalformedRequest(detail), Executed.NO)


def _remember(known: set[str], name: str) -> None:
    if len(known) < _NAMES_KNOWN_MAX:
        known.add(name)


# --- replies ----------------------------------------------------------------------------------------------------------


def write_replies(frames: Iterable[tuple[int, Reply]], envelope: messages.Envelope) -> None:
    """Append replies to the envelope. A reply that cannot be encoded is replaced by a problem."""
    replies = envelope.replies
    add = replies.add
    for number, reply in frames:
        message = add()
        message.id = number
        try:
            _write_reply(reply, message)
        except _UNSENDABLE as error:
            message.Clear()
            message.id = number
            unsent = known(GoverseError(f"the reply cannot be encoded: {error}"), Executed.UNKNOWN)
            write_problem(Problem.of(unsent), message.problem)


def _write_reply(reply: Reply, message: messages.Reply) -> None:
    message.body = reply.body
    message.version = reply.version
    message.commit_seq = reply.commit_seq
    if reply.created:
        message.created = True
    if reply.replayed:
        message.replayed = True
    if reply.problem is not None:
        write_problem(reply.problem, message.problem)
    if reply.settled:
        message.settled = True


def read_reply(message: messages.Reply) -> Reply:
    """Decode a reply.

    Raises:
        PeerError: its problem is invalid.
    """
    return Reply(
        message.body,
        message.version,
        message.commit_seq,
        message.created,
        message.replayed,
        read_problem(message.problem) if message.HasField("problem") else None,
        message.settled,
    )


# --- listings and readiness -------------------------------------------------------------------------------------------


def write_listing(
    number: int, names: tuple[str, str], *, prefix: str, after: str | None, limit: int
) -> messages.ListRequest:
    """Encode a listing request for a namespace and type.

    Raises:
        MalformedRequest: an argument cannot be encoded.
    """
    try:
        return messages.ListRequest(
            id=number, namespace=names[0], type=names[1], prefix=prefix, after=after, limit=min(limit, LIST_LIMIT_MAX)
        )
    except _UNSENDABLE as error:
        raise MalformedRequest(f"the listing request cannot be encoded: {error}") from error


def check_listing(message: messages.ListRequest) -> None:
    """Check a peer's listing request against the bounds that a gate enforces.

    Raises:
        MalformedRequest: a name is invalid, or a text or the limit is out of bounds.
    """
    check_namespace(message.namespace)
    _check_name(message.type, "type")
    if max(len(message.prefix.encode()), len(message.after.encode())) > ID_BYTES_MAX:
        raise MalformedRequest(f"a prefix or position has more than the {ID_BYTES_MAX} bytes of an object id")
    if not 1 <= message.limit <= LIST_LIMIT_MAX:
        raise MalformedRequest(f"the limit is {message.limit}; it must be 1 to {LIST_LIMIT_MAX}")


def write_items(items: Sequence[ObjectSummary], message: messages.ListReply) -> None:
    for item in items:
        message.items.add(id=item.id, version=item.version)


def read_items(message: messages.ListReply) -> list[ObjectSummary]:
    return [ObjectSummary(item.id, item.version) for item in message.items]


def write_readiness(readiness: Readiness, message: messages.Readiness) -> None:
    message.ready = readiness.ready
    message.reasons.extend(
        bounded_text(reason, PROBLEM_DETAIL_BYTES_MAX) for reason in readiness.reasons[:_REASONS_MAX]
    )
    message.commit_seq = readiness.commit_seq


def read_readiness(message: messages.Readiness) -> Readiness:
    return Readiness(message.ready, tuple(message.reasons), message.commit_seq)
