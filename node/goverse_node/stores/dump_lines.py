"""Parser and checker for the lines of a dump.

A dump is NDJSON, one JSON object per line, as ``goverse dump`` prints it:

    object        namespace, type, id, version, commit_seq, modified_ms, state_version, state; if known creation, the
                  digest of the creation arguments; generation, unless it is 1
    tombstone     the same with ``"deleted": true`` in place of ``state``
    kept reply    namespace, type, id, idempotency_key, commit_seq, expires_ms, fingerprint, reply
    floor         namespace, type, floor: the highest version of the tombstones that the store has forgotten
    call          pending calls, receipts and finished calls: see ``goverse_node.stores.dump_calls``

Every line is checked before anything is loaded. An unknown member is refused: a newer release wrote it, and dropping it
would lose data silently. JSON is parsed as strictly as in a request. Duplicate member names, lone surrogates and
nesting beyond ``goverse.model.json_text.DEPTH_MAX`` are refused, because a node could not read such a state, or two
parsers would disagree about its value.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final, cast

from goverse.errors import DataDamaged, GoverseError
from goverse.limits import IDEMPOTENCY_KEY_BYTES_MAX, STATE_BYTES_MAX
from goverse.model import json_text
from goverse.model.effects import FinishedCall, PendingCall
from goverse.model.keys import ObjectKey, check_id, check_namespace, is_name
from goverse.model.problem_bounds import bounded_text
from goverse.model.receipts import place_of
from goverse.model.records import StoredReply
from goverse.model.replies import decode_reply
from goverse_node.stores.dump_calls import (
    FINISHED_MEMBERS,
    PENDING_MEMBERS,
    RECEIPT_MEMBERS,
    DumpedCall,
    DumpedReceipt,
    parse_finished,
    parse_pending,
    parse_receipt,
)
from goverse_node.stores.encoding import DIGEST_SIZE

PROBLEMS_SHOWN: Final = 20
_NAME_BYTES_MAX: Final = 600
_INT64_MAX: Final = (1 << 63) - 1
_COUNT_MAX: Final = (1 << 62) - 1
"""The highest version or position in a dump. Both keep growing after a load and have to stay below 2**63."""

_STATE_VERSION_MAX: Final = (1 << 31) - 1

_NAME: Final = frozenset({"namespace", "type", "id"})
_OBJECT: Final = _NAME | {"version", "commit_seq", "modified_ms", "state_version"}
_REPLY: Final = _NAME | {"idempotency_key", "commit_seq", "expires_ms", "fingerprint", "reply"}
_FLOOR: Final = frozenset({"namespace", "type", "floor"})


@dataclass(frozen=True, slots=True)
class DumpedObject:
    """An object, or a tombstone if ``state`` is None."""

    key: ObjectKey
    version: int
    state: bytes | None
    state_version: int
    commit_seq: int
    modified_ms: int
    creation: bytes | None = None
    generation: int = 1


@dataclass(frozen=True, slots=True)
class DumpedReply:
    """A reply that is kept under an idempotency key."""

    key: ObjectKey
    idempotency_key: str
    reply: StoredReply


@dataclass(frozen=True, slots=True)
class DumpedFloor:
    """The highest version of the forgotten tombstones of a type."""

    namespace: str
    type: str
    version: int


Dumped = DumpedObject | DumpedReply | DumpedFloor | DumpedCall


@dataclass(slots=True)
class Contents:
    """Counts of a dump's contents, collected while it is checked.

    Attributes:
        objects, tombstones, replies, floors, pending, receipts, finished: the number of each.
        last_seq: the highest position.
        last_ms: the time at which the newest object was written.
    """

    objects: int = 0
    tombstones: int = 0
    replies: int = 0
    floors: int = 0
    pending: int = 0
    receipts: int = 0
    finished: int = 0
    last_seq: int = 0
    last_ms: int = 0
    _names: set[bytes] = field(default_factory=set[bytes])

    @property
    def calls(self) -> int:
        """The number of lines about reliable calls."""
        return self.pending + self.receipts + self.finished

    def add(self, dumped: Dumped) -> None:
        """Count the contents of one line.

        Raises:
            ValueError: an earlier line has the same name.
        """
        name = _digest(dumped)
        if name in self._names:
            raise ValueError("an earlier line has the same name")
        self._names.add(name)
        self._count(dumped)
        if isinstance(dumped, DumpedObject):
            self.last_seq = max(self.last_seq, dumped.commit_seq)
            self.last_ms = max(self.last_ms, dumped.modified_ms)
        elif isinstance(dumped, DumpedReply):
            self.last_seq = max(self.last_seq, dumped.reply.commit_seq)
        elif isinstance(dumped, PendingCall):
            self.last_seq = max(self.last_seq, place_of(dumped.number)[0])
        elif isinstance(dumped, DumpedReceipt):
            self.last_seq = max(self.last_seq, place_of(dumped.receipt.last)[0])

    def _count(self, dumped: Dumped) -> None:
        match dumped:
            case DumpedObject(state=None):
                self.tombstones += 1
            case DumpedObject():
                self.objects += 1
            case DumpedReply():
                self.replies += 1
            case DumpedFloor():
                self.floors += 1
            case PendingCall():
                self.pending += 1
            case DumpedReceipt():
                self.receipts += 1
            case FinishedCall():
                self.finished += 1


def read(lines: Iterable[bytes]) -> Iterator[Dumped]:
    """Yield the contents of a dump that :func:`check` accepted. Empty lines are skipped."""
    for line in lines:
        if line.strip():
            yield parse(line)


def check(lines: Iterable[bytes], further: Callable[[Dumped], None] = lambda _: None) -> Contents:
    """Check every line and count the contents. ``further`` can raise to refuse a line for another reason.

    Raises:
        DataDamaged: lines are invalid. The message lists the first ``PROBLEMS_SHOWN`` of them by number.
    """
    contents, problems, wrong = Contents(), list[str](), 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            dumped = parse(line)
            contents.add(dumped)
            further(dumped)
        except (ValueError, GoverseError) as error:
            wrong += 1
            if len(problems) < PROBLEMS_SHOWN:
                problems.append(f"line {number}{_named(line)}: {error}")
    if wrong:
        more = f"\n  and {wrong - len(problems)} more" if wrong > len(problems) else ""
        raise DataDamaged(f"{wrong} lines cannot be loaded; nothing was loaded\n  " + "\n  ".join(problems) + more)
    return contents


def parse(line: bytes) -> Dumped:
    """Parse one line.

    Raises:
        ValueError: the line is not a line of a dump.
        MalformedRequest: a name in it is invalid.
    """
    try:
        value: Any = json_text.decode(line.decode())
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"invalid JSON: {error.msg}, column {error.colno}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8") from error
    if not isinstance(value, dict):
        raise ValueError("the line is not a JSON object")
    members = cast("dict[str, Any]", value)
    json_text.storable({**members, "state": None})
    if "floor" in members:
        _only(members, _FLOOR)
        return DumpedFloor(_namespace(members), _type(members), _number(members, "floor", 1, _COUNT_MAX))
    if "idempotency_key" in members:
        _only(members, _REPLY)
        return _reply(members)
    if (call := _dumped_call(members)) is not None:
        return call
    rest = {"deleted"} if "deleted" in members else {"state", *(members.keys() & {"creation"})}
    rest |= members.keys() & {"generation"}
    _only(members, _OBJECT | rest)
    return _object(members)


def _dumped_call(members: dict[str, Any]) -> DumpedCall | None:
    """Return the pending call, the receipt or the finished call of a line, or None if it is another line."""
    if "pending" in members:
        _only(members, _NAME | PENDING_MEMBERS)
        return parse_pending(_key(members), members)
    if "receipt" in members:
        _only(members, _NAME | RECEIPT_MEMBERS)
        return parse_receipt(_key(members), members)
    if "finished_ms" in members:
        _only(members, _NAME | FINISHED_MEMBERS)
        return parse_finished(_key(members), members)
    return None


def _object(members: dict[str, Any]) -> DumpedObject:
    state: bytes | None = None
    if "deleted" in members:
        if members["deleted"] is not True:
            raise ValueError("deleted is not true")
    else:
        if not isinstance(members["state"], dict):
            raise ValueError("state is not a JSON object")
        state = _encoded(cast("dict[str, Any]", members["state"]))
        if len(state) > STATE_BYTES_MAX:
            raise ValueError(f"state has {len(state)} bytes; {STATE_BYTES_MAX} are allowed")
    version = _number(members, "version", 1, _COUNT_MAX)
    return DumpedObject(
        _key(members),
        version,
        state,
        _number(members, "state_version", 0 if state is None else 1, _STATE_VERSION_MAX),
        _number(members, "commit_seq", 1, _COUNT_MAX),
        _number(members, "modified_ms", 0),
        _creation(members) if "creation" in members else None,
        _number(members, "generation", 1, version) if "generation" in members else 1,
    )


def _creation(members: dict[str, Any]) -> bytes:
    digest = bytes.fromhex(_text(members, "creation"))
    if len(digest) not in (0, DIGEST_SIZE):
        raise ValueError(f"creation has {len(digest)} bytes; 0 or {DIGEST_SIZE} are allowed")
    return digest


def _reply(members: dict[str, Any]) -> DumpedReply:
    idempotency_key = _text(members, "idempotency_key")
    if not 1 <= len(idempotency_key.encode()) <= IDEMPOTENCY_KEY_BYTES_MAX:
        raise ValueError(f"idempotency_key does not have 1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes")
    fingerprint = bytes.fromhex(_text(members, "fingerprint"))
    body = base64.b64decode(_text(members, "reply"), validate=True)
    if not body or len(fingerprint) > 255:
        raise ValueError("reply is empty, or fingerprint is too long")
    try:
        decode_reply(body, 0)
    except (ValueError, TypeError, struct.error) as error:
        raise ValueError("reply cannot be decoded; goverse dump did not write it") from error
    kept = StoredReply(
        fingerprint, body, _number(members, "expires_ms", 1), _number(members, "commit_seq", 1, _COUNT_MAX)
    )
    return DumpedReply(_key(members), idempotency_key, kept)


def _only(members: dict[str, Any], known: frozenset[str] | set[str]) -> None:
    if missing := sorted(known - members.keys()):
        raise ValueError(f"{missing[0]} is missing")
    if unknown := sorted(members.keys() - known):
        raise ValueError(f"{unknown[0]} is an unknown member; a newer release may have written the dump")


def _key(members: dict[str, Any]) -> ObjectKey:
    return ObjectKey(_namespace(members), _type(members), check_id(_text(members, "id")))


def _namespace(members: dict[str, Any]) -> str:
    return check_namespace(_text(members, "namespace"))


def _type(members: dict[str, Any]) -> str:
    name = _text(members, "type")
    if not name or not is_name(name):
        raise ValueError(f"type {name!r} is not a valid class name")
    return name


def _text(members: dict[str, Any], name: str) -> str:
    value = members[name]
    if not isinstance(value, str):
        raise ValueError(f"{name} is not text")
    return value


def _number(members: dict[str, Any], name: str, least: int, most: int = _INT64_MAX) -> int:
    value = members[name]
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{name} is not a whole number from {least} to {most}")
    return value


def _encoded(state: dict[str, Any]) -> bytes:
    try:
        return json_text.storable(state)
    except ValueError as error:
        raise ValueError(f"state: {error}") from error


def _named(line: bytes) -> str:
    """Return the key of the object in a refused line, in parentheses, or an empty text if the line has none."""
    try:
        value: Any = json.loads(line)
    except (ValueError, RecursionError):
        return ""
    members = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    names = [members[name] for name in ("namespace", "type", "id") if isinstance(members.get(name), str)]
    return bounded_text(f" ({'/'.join(names)})", _NAME_BYTES_MAX) if names else ""


def _digest(dumped: Dumped) -> bytes:
    parts: tuple[str, ...]
    if isinstance(dumped, DumpedObject):
        parts = (*dumped.key, "object")
    elif isinstance(dumped, DumpedReply):
        parts = (*dumped.key, "reply", dumped.idempotency_key)
    elif isinstance(dumped, PendingCall):
        parts = ("pending", str(dumped.number))
    elif isinstance(dumped, DumpedReceipt):
        parts = (*dumped.receiver, "receipt", *dumped.sender)
    elif isinstance(dumped, FinishedCall):
        parts = (*dumped.sender, "finished", dumped.call.id)
    else:
        parts = (dumped.namespace, dumped.type, "", "floor")
    return blake2b("\x00".join(parts).encode(errors="surrogatepass"), digest_size=16).digest()
