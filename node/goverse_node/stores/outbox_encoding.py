"""Encoding of the effects of a record on reliable calls.

A record with effects has the type EFFECTS. It has the form of a COMMIT record, with a section between the names and the
trail: the length of the section (4 bytes), and then one *entry* for each effect, after its length (4 bytes). The type
is a new one, so a release that knows no effects refuses the record as newer.

An entry is a record itself, of the same form: head, core, a value in the place of the state, a *sub-name* in the place
of the reply, and the names of an object. The log has entries inside of EFFECTS records; a snapshot has the ones that
are still needed, each as a record of its own:

    type      object    sub-name                      value
    PENDING   sender    "p", number, 0                shard, encoded call; without the flag ALIVE: it was removed
    MARK      sender    "p", number, 1                attempts, reason
    RECEIPT   receiver  "r", names of the sender, 0   last settled number, lowest number whose outcome is kept
    OUTCOME   receiver  ... the same, 1, number       the outcome
    FINISHED  sender    "f", id of the call           times, state, attempts, encoded call, outcome; without the flag
                                                      ALIVE: it was forgotten

Numbers have 12 bytes, because positions of PostgreSQL, which a dump can bring here, take up to 63 bits. They are big
endian, so the sub-names of a mark and an outcome follow those of their call and receipt in their order.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from struct import Struct
from typing import Final, get_args

from goverse.model.effects import CallState, FinishedCall, Mark, PendingCall, SentCall, decode_call, encode_call
from goverse.model.keys import ObjectKey
from goverse.model.receipts import Receipt
from goverse_node.stores.encoding import (
    ALIVE,
    COMMIT,
    EFFECTS,
    FINISHED,
    FULL,
    MARK,
    OUTCOME,
    PENDING,
    RECEIPT,
    SECTION,
    STATE_AT,
    names_end,
    section_end,
)

U32: Final = Struct("<I")
NUMBER_SIZE: Final = 12
CALL_HEAD: Final = 5
"""Bytes of an encoded call before its JSON array, whose first member is the id (``goverse.model.effects``)."""
_OWNER: Final = Struct("<BBH")
_SENDER: Final = Struct(">HHH")
_FINISHED: Final = Struct("<QQQQIBI")
"""Expiry and time of keeping in running time, end and expiry by the wall clock, attempts, state, length of the call."""

_STATES: Final[Sequence[CallState]] = get_args(CallState)

Place = tuple[int, int]
"""The position of the record that an entry belongs to, and its wall-clock time."""


def with_entries(body: bytes, entries: Sequence[bytes]) -> bytes:
    """Return a COMMIT record as an EFFECTS record with ``entries``."""
    at = names_end(body)
    section = b"".join(piece for entry in entries for piece in (U32.pack(len(entry)), entry))
    return b"".join((bytes((EFFECTS,)), body[1:at], SECTION.pack(len(section)), section, body[at:]))


def carrier(entries: Sequence[bytes], place: Place) -> bytes:
    """Return an EFFECTS record with nothing but ``entries``, of which there is at least one."""
    names = [name.encode() for name in key_of(entries[0])]
    head = FULL.pack(COMMIT, *map(len, names), 0, 0, 0, 0, *place, 0, 0)
    return with_entries(b"".join((head, *names)), entries)


def parted(body: bytes) -> tuple[bytes, list[bytes]]:
    """Return an EFFECTS record as a COMMIT record and its entries.

    Raises:
        ValueError: the lengths are inconsistent.
    """
    at = names_end(body)
    end = section_end(body, at)
    return b"".join((bytes((COMMIT,)), body[1:at], body[end:])), list(_entries(body, at + SECTION.size, end))


def _entries(body: bytes, at: int, end: int) -> Iterator[bytes]:
    while at < end:
        begin = at + U32.size
        at = begin + U32.unpack_from(body, at)[0] if begin <= end else end + 1
        if at > end or at - begin < STATE_AT:
            raise ValueError("an effect in the record has a wrong length")
        entry = body[begin:at]
        if names_end(entry) != len(entry):
            raise ValueError("the lengths in an effect do not match its size")
        yield entry


def plain(body: bytes) -> bytes:
    """Return a record without effects."""
    return parted(body)[0] if body[0] == EFFECTS else body


@lru_cache(maxsize=4_096)  # the entries of one record name the same objects several times
def _names(key: ObjectKey) -> tuple[tuple[int, int, int], bytes]:
    """Return the lengths of the names of an object, and the names one after the other."""
    namespace, type_name, object_id = (name.encode() for name in key)
    return (len(namespace), len(type_name), len(object_id)), namespace + type_name + object_id


def _entry(what: int, key: ObjectKey, place: Place, parts: tuple[bytes, bytes], *, alive: bool = True) -> bytes:
    (namespace_len, type_len, id_len), names = _names(key)
    sub_name, value = parts
    lengths = (namespace_len, type_len, id_len, 0, len(value), len(sub_name))
    return FULL.pack(what, *lengths, 0, *place, 0, ALIVE if alive else 0) + value + sub_name + names


def key_of(entry: bytes) -> ObjectKey:
    """Return the object of an entry."""
    _, namespace_len, type_len, id_len, _, value_len, sub_len, *_ = FULL.unpack_from(entry)
    at = STATE_AT + value_len + sub_len
    type_at = at + namespace_len
    id_at = type_at + type_len
    return ObjectKey(entry[at:type_at].decode(), entry[type_at:id_at].decode(), entry[id_at : id_at + id_len].decode())


def value_of(entry: bytes) -> bytes:
    """Return the value of an entry."""
    return entry[STATE_AT : STATE_AT + FULL.unpack_from(entry)[5]]


def sub_name_of(entry: bytes) -> bytes:
    """Return the sub-name of an entry."""
    value_len, sub_len = FULL.unpack_from(entry)[5:7]
    return entry[STATE_AT + value_len : STATE_AT + value_len + sub_len]


def owner_of(entry: bytes) -> bytes:
    """Return the lengths and the names of the object of an entry, as one byte string that no other object has."""
    value_len, sub_len = FULL.unpack_from(entry)[5:7]
    return entry[1 : 1 + _OWNER.size] + entry[STATE_AT + value_len + sub_len :]


def owner_name(key: ObjectKey) -> bytes:
    """Return the same as :func:`owner_of` for an object."""
    lengths, names = _names(key)
    return _OWNER.pack(*lengths) + names


def sender_names(entry: bytes) -> bytes:
    """Return the names of the object of an entry, one after the other. Other objects can have the same."""
    value_len, sub_len = FULL.unpack_from(entry)[5:7]
    return entry[STATE_AT + value_len + sub_len :]


def is_alive(entry: bytes) -> bool:
    """True if an entry adds something, False if it removes it."""
    return bool(entry[FULL.size - 1] & ALIVE)


# --- pending calls --------------------------------------------------------------------------------------------------


def _pending_name(number: int, part: bytes) -> bytes:
    return b"p" + _number(number) + part


def pending_entry(call: PendingCall, place: Place) -> bytes:
    """Return the entry that adds a call to an outbox."""
    value = U32.pack(call.shard) + encode_call(call.call)
    return _entry(PENDING, call.sender, place, (_pending_name(call.number, b"\0"), value))


def removed_entry(sender: ObjectKey, number: int, place: Place) -> bytes:
    """Return the entry that removes a call from the outbox of ``sender``."""
    return _entry(PENDING, sender, place, (_pending_name(number, b"\0"), b""), alive=False)


def mark_entry(sender: ObjectKey, mark: Mark, place: Place) -> bytes:
    """Return the entry of a mark on a call of ``sender``."""
    value = U32.pack(mark.attempts) + mark.void.encode()
    return _entry(MARK, sender, place, (_pending_name(mark.number, b"\1"), value))


def number_in(entry: bytes) -> int:
    """Return the number of the call that a PENDING or MARK entry is about."""
    return int.from_bytes(sub_name_of(entry)[1 : 1 + NUMBER_SIZE])


def shard_in(entry: bytes) -> int:
    """Return the shard in a PENDING entry."""
    shard: int = U32.unpack_from(entry, STATE_AT)[0]
    return shard


def is_note(entry: bytes) -> bool:
    """True if the call of a PENDING entry is a note, which is never delivered: its id and its method begin with @."""
    at = STATE_AT + U32.size + CALL_HEAD
    return entry[at : at + 3] == b'["@' and decode_call(value_of(entry)[U32.size :]).method.startswith("@")


def pending_call(entry: bytes, mark: bytes | None) -> PendingCall:
    """Return the call of a PENDING entry, with the value of its MARK entry if it has one."""
    value = value_of(entry)
    found = PendingCall(number_in(entry), key_of(entry), shard_in(entry), decode_call(value[U32.size :]))
    if mark is None:
        return found
    return found._replace(attempts=U32.unpack_from(mark)[0], void=mark[U32.size :].decode())


# --- receipts -------------------------------------------------------------------------------------------------------


def pair_name(sender: ObjectKey) -> bytes:
    """Return the beginning of the sub-names of a receipt and its outcomes. No other sender's begins with it."""
    lengths, names = _names(sender)
    return b"r" + _SENDER.pack(*lengths) + names


def receipt_entries(receiver: ObjectKey, sender: ObjectKey, after: Receipt, place: Place) -> list[bytes]:
    """Return the entries of a settlement, after which the receipt is ``after``: the receipt, and the new outcome."""
    name = pair_name(sender)
    value = _number(after.last) + _number(min(after.outcomes, default=after.last))
    outcome = outcome_entry(receiver, sender, after.last, after.outcomes[after.last], place)
    return [_entry(RECEIPT, receiver, place, (name + b"\0", value)), outcome]


def outcome_entry(receiver: ObjectKey, sender: ObjectKey, number: int, outcome: bytes, place: Place) -> bytes:
    """Return the entry of one outcome of a receipt."""
    return _entry(OUTCOME, receiver, place, (pair_name(sender) + b"\1" + _number(number), outcome))


def pair_in(sub_name: bytes) -> bytes:
    """Return the beginning of the sub-name of a RECEIPT or OUTCOME entry (``pair_name``)."""
    return sub_name[: 1 + _SENDER.size + sum(_SENDER.unpack_from(sub_name, 1))]


def sender_of(pair: bytes) -> bytes:
    """Return the names of the sender (``sender_names``) in ``owner_name(receiver) + pair_name(sender)``."""
    return pair[_OWNER.size + sum(_OWNER.unpack_from(pair)) + 1 + _SENDER.size :]


def sender_in(sub_name: bytes) -> ObjectKey:
    """Return the sender in the sub-name of a RECEIPT or OUTCOME entry."""
    namespace_len, type_len, id_len = _SENDER.unpack_from(sub_name, 1)
    at = 1 + _SENDER.size
    type_at = at + namespace_len
    id_at = type_at + type_len
    names = (sub_name[at:type_at], sub_name[type_at:id_at], sub_name[id_at : id_at + id_len])
    return ObjectKey(*(name.decode() for name in names))


def outcome_number(sub_name: bytes) -> int:
    """Return the number in the sub-name of an OUTCOME entry."""
    return int.from_bytes(sub_name[-NUMBER_SIZE:])


def receipt_value(value: bytes) -> tuple[int, int]:
    """Return the last number in a RECEIPT entry, and the lowest number whose outcome is kept."""
    return int.from_bytes(value[:NUMBER_SIZE]), int.from_bytes(value[NUMBER_SIZE : 2 * NUMBER_SIZE])


def last_of(stored: bytes) -> int:
    """Return the last number of a receipt that the table keeps, or of the value of a RECEIPT entry."""
    return int.from_bytes(stored[:NUMBER_SIZE])


def moved_receipt(stored: bytes, value: bytes) -> bytes:
    """Return a receipt as the table keeps it after a RECEIPT entry: its value, and the outcomes that it does not drop.

    ``stored`` is the receipt before, empty if there was none.
    """
    at, lowest = 2 * NUMBER_SIZE, value[NUMBER_SIZE : 2 * NUMBER_SIZE]
    while at < len(stored) and stored[at : at + NUMBER_SIZE] < lowest:
        at += NUMBER_SIZE + U32.size + U32.unpack_from(stored, at + NUMBER_SIZE)[0]
    return value[: 2 * NUMBER_SIZE] + stored[at:]


def kept_outcome(number: int, outcome: bytes) -> bytes:
    """Return an outcome as the table appends it to a receipt."""
    return _number(number) + U32.pack(len(outcome)) + outcome


def decode_receipt(stored: bytes) -> Receipt:
    """Return a receipt that the table keeps."""
    outcomes: dict[int, bytes] = {}
    at = 2 * NUMBER_SIZE
    while at < len(stored):
        begin = at + NUMBER_SIZE + U32.size
        end = begin + U32.unpack_from(stored, at + NUMBER_SIZE)[0]
        outcomes[int.from_bytes(stored[at : at + NUMBER_SIZE])] = stored[begin:end]
        at = end
    return Receipt(int.from_bytes(stored[:NUMBER_SIZE]), outcomes)


def _number(number: int) -> bytes:
    try:
        return number.to_bytes(NUMBER_SIZE)
    except OverflowError as error:
        raise struct.error(f"{number} cannot be the number of a call; use 0 to 2^{8 * NUMBER_SIZE} - 1") from error


# --- finished calls -------------------------------------------------------------------------------------------------


def finished_entry(end: FinishedCall, place: Place, now_ms: int) -> bytes:
    """Return the entry of a kept end of a call. ``now_ms`` is the store's running time, by which it expires."""
    call = encode_call(end.call)
    times = (max(0, now_ms + end.expires_ms - place[1]), now_ms, end.finished_ms, end.expires_ms)
    value = _FINISHED.pack(*times, end.attempts, _STATES.index(end.state), len(call)) + call + end.outcome
    return _entry(FINISHED, end.sender, place, (b"f" + end.call.id.encode(), value))


def forgotten_entry(sender: ObjectKey, call_id: str, place: Place) -> bytes:
    """Return the entry that removes a kept end of a call."""
    return _entry(FINISHED, sender, place, (b"f" + call_id.encode(), b""), alive=False)


def end_name(entry: bytes) -> tuple[ObjectKey, str]:
    """Return the sender and the id of the call of a FINISHED entry."""
    return key_of(entry), sub_name_of(entry)[1:].decode()


def finished_times(entry: bytes) -> tuple[int, int]:
    """Return the time of keeping of a FINISHED entry, in running time, and the end of the call."""
    _, kept, finished_ms, *_ = _FINISHED.unpack_from(entry, STATE_AT)
    return kept, finished_ms


def expiry_of(entry: bytes, most_ms: Mapping[CallState, int]) -> int:
    """Return the running time at which a FINISHED entry expires. ``most_ms`` limits it, by state."""
    times: tuple[int, ...] = _FINISHED.unpack_from(entry, STATE_AT)
    expires, _, finished_ms, expires_ms, _, state, _ = times
    most = most_ms.get(_STATES[state])
    return expires if most is None else expires - max(0, expires_ms - finished_ms - most)


def finished_call(entry: bytes) -> FinishedCall:
    """Return the kept end of a call from its entry."""
    value = value_of(entry)
    _, _, finished_ms, expires_ms, attempts, state, size = _FINISHED.unpack_from(value)
    at = _FINISHED.size + size
    call: SentCall = decode_call(value[_FINISHED.size : at])
    return FinishedCall(call, key_of(entry), _STATES[state], value[at:], attempts, finished_ms, expires_ms)
