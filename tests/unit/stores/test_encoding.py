"""An encoded record decodes to the same record, and other bytes are not accepted as a record."""

from dataclasses import dataclass
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goverse.model.cause import decode_cause, encode_call
from goverse.model.keys import ObjectKey
from goverse.model.records import CommitRecord, StoredReply
from goverse.ports.store import Conflict
from goverse_node.stores import encoding
from goverse_node.stores.encoding import PREFIX, change_of, decode, decode_object, decode_reply, framed
from goverse_node.stores.table import Table
from goverse_node.stores.wal.fold import split
from goverse_node.stores.wal.scan import Scan

U64 = st.integers(0, 2**64 - 1)
TEXT = st.text(max_size=40)
CAUSES = st.builds(encode_call, TEXT, TEXT, TEXT, TEXT)
REPLIES = st.builds(StoredReply, st.binary(max_size=64), st.binary(max_size=200), st.integers(1, 2**63))


@st.composite
def records(draw: st.DrawFn) -> CommitRecord:
    """Generate records that an empty store accepts."""
    key = ObjectKey(draw(TEXT.filter(bool)), draw(TEXT), draw(TEXT))
    state = draw(st.none() | st.binary(min_size=1, max_size=300))
    changes = draw(st.booleans())
    idempotency_key, reply = draw(st.tuples(TEXT, REPLIES) | st.just((None, None)))
    fields = (key, 0, int(changes), state, draw(st.integers(0, 2**32 - 1)), draw(U64), idempotency_key, reply)
    return CommitRecord(*fields, cause=draw(st.none() | CAUSES))


def encoded(record: CommitRecord, seq: int) -> bytes:
    """Return the record's body as a store would write it."""
    outcomes, (prefix, body) = Table().stage([record], seq, now_ms=record.at_ms)
    assert outcomes == [seq]
    assert prefix + body == framed(body)
    return body


@dataclass
class Bytes:
    """A file in memory."""

    data: bytes

    def read_at(self, size: int, offset: int) -> bytes:
        return self.data[offset : offset + size]


def scanned(data: bytes, *, block: int = 1 << 20) -> tuple[list[bytes], Scan]:
    """Read framed records from ``data``."""
    scan = Scan(Bytes(data), offset=0, size=len(data), block=block)  # type: ignore[arg-type]
    return list(scan), scan


@pytest.mark.requirement("WAL-1")
@given(records(), st.integers(1, 2**64 - 1))
def test_a_record_decodes_to_what_was_encoded(record: CommitRecord, seq: int) -> None:
    entry = decode(encoded(record, seq))

    assert (entry.key, entry.version, entry.seq, entry.at_ms) == (record.key, record.version, seq, record.at_ms)
    assert bool(entry.flags & encoding.OBJECT) == record.changes_object
    if record.changes_object:
        assert entry.state == record.state
        found = decode_object(entry.object)
        assert (found.version, found.state, found.commit_seq) == (record.version, record.state, seq)
        change = change_of(encoded(record, seq))
        assert change is not None
        assert change.cause == (None if record.cause is None else decode_cause(record.cause))
    assert entry.idempotency_key == record.idempotency_key
    if record.reply is not None:
        assert decode_reply(entry.reply) == record.reply._replace(commit_seq=seq)


@given(records(), st.integers(1, 2**63))
def test_a_split_record_keeps_both_halves(record: CommitRecord, seq: int) -> None:
    body = encoded(record, seq)
    halves = [decode(half) for half in split(body)]

    whole = decode(body)
    assert [half.object for half in halves if half.flags & encoding.OBJECT] == (
        [whole.object] if record.changes_object else []
    )
    assert [half.reply for half in halves if half.reply] == ([whole.reply] if whole.reply else [])
    assert {half.key for half in halves} <= {record.key}
    assert {half.seq for half in halves} <= {seq}


@given(st.binary(max_size=120))
def test_any_bytes_are_a_record_or_a_value_error(data: bytes) -> None:
    try:
        entry = decode(data)
    except ValueError:
        return
    assert len(entry.object) >= encoding.CORE.size


@pytest.mark.requirement("WAL-1")
@given(st.lists(records(), max_size=6), st.integers(1, 300), st.data())
def test_a_scan_finds_the_whole_records_and_reports_where_they_end(
    batch: list[CommitRecord], block: int, data: st.DataObject
) -> None:
    bodies = [encoded(record, seq) for seq, record in enumerate(batch, 1)]
    written = b"".join(map(framed, bodies))
    cut = data.draw(st.integers(0, len(written)))
    ends = [0]
    for body in bodies:
        ends.append(ends[-1] + PREFIX.size + len(body))

    found, scan = scanned(written, block=block)
    assert (found, scan.end, scan.stopped) == (bodies, len(written), "")
    found, scan = scanned(written + bytes(100), block=block)
    assert (found, scan.end, scan.stopped) == (bodies, len(written), "")
    found, scan = scanned(written[:cut], block=block)
    whole = sum(end <= cut for end in ends) - 1
    assert (found, scan.end) == (bodies[:whole], ends[whole])
    assert bool(scan.stopped) == (cut != ends[whole] and bool(written[ends[whole] : cut].strip(b"\0")))


@pytest.mark.requirement("WAL-1")
@given(st.lists(records(), min_size=1, max_size=4), st.data())
def test_a_flipped_bit_ends_a_scan_in_front_of_it(batch: list[CommitRecord], data: st.DataObject) -> None:
    bodies = [encoded(record, seq) for seq, record in enumerate(batch, 1)]
    written = bytearray(b"".join(map(framed, bodies)))
    at = data.draw(st.integers(0, len(written) - 1))
    written[at] ^= 1 << data.draw(st.integers(0, 7))

    found, scan = scanned(bytes(written))
    assert found == bodies[: len(found)]
    assert len(found) < len(bodies)
    assert scan.end <= at
    assert scan.stopped


def test_the_checksum_covers_the_length() -> None:
    body = encoded(CommitRecord(ObjectKey("n", "T", "i"), 0, 1, b"{}", 1, 0), 1)
    assert PREFIX.unpack(framed(body)[: PREFIX.size]) == (len(body), crc32(body, len(body)))
    assert crc32(body, len(body)) != crc32(body)


@pytest.mark.parametrize(
    "record",
    [
        CommitRecord(ObjectKey("n" * 256, "T", "i"), 0, 1, b"{}", 1, 0),
        CommitRecord(ObjectKey("n", "T", "i" * 65_536), 0, 1, b"{}", 1, 0),
        CommitRecord(ObjectKey("n", "T", "\ud800"), 0, 1, b"{}", 1, 0),
        CommitRecord(ObjectKey("n", "T", "i"), 0, 1, b"{}", -1, 0),
        CommitRecord(ObjectKey("n", "T", "i"), 0, 1, b"{}", 1, 0, "k" * 256, StoredReply(b"", b"", 9)),
    ],
)
def test_a_record_that_does_not_fit_the_format_fails_alone(record: CommitRecord) -> None:
    good = CommitRecord(ObjectKey("n", "T", "good"), 0, 1, b"{}", 1, 0)
    outcomes, pieces = Table().stage([record, good], 1, now_ms=0)
    assert isinstance(outcomes[0], Conflict)
    assert "cannot be encoded" in outcomes[0].reason
    assert outcomes[1] == 1
    assert len(pieces) == 2
