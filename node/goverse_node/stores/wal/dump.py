"""Dump of a store as text: one JSON object per line, sorted by name.

The directory is only read, so a server may use it at the same time. The dump then contains everything that had been
acknowledged when it started. Two stores with the same dump are the same for every caller.
"""

from __future__ import annotations

import base64
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from goverse.errors import RestoreRefused
from goverse_node.stores.dump_calls import CallLines
from goverse_node.stores.encoding import ALIVE, COMMIT, FLOOR, OBJECT, Body, decode, decode_reply, seq_of
from goverse_node.stores.wal.compact import whole_snapshot
from goverse_node.stores.wal.directory import DataDirectory
from goverse_node.stores.wal.files import Files, RealFiles
from goverse_node.stores.wal.fold import Fold
from goverse_node.stores.wal.log import Log, Progress


def dump(
    source: Path,
    *,
    to_seq: int | None = None,
    replies: bool = False,
    tombstones: bool = False,
    floors: bool = False,
    calls: bool = False,
    files: Files | None = None,
    progress: Progress | None = None,
) -> Iterator[str]:
    """Yield the lines of a dump, at a position or at the end of the log.

    With ``floors``, there is a line for each type with the highest version of its forgotten tombstones. A store that is
    loaded from the dump needs it to keep versions from going back. With ``calls``, there are lines for pending calls,
    receipts and finished calls.

    Raises:
        RestoreRefused: the position is not covered. The message contains the closest one that is.
        DataDamaged: a record does not match its checksum.
        DataNewer: a newer release wrote the data.
    """
    call_lines = CallLines()
    for body in _newest(source, to_seq, files or RealFiles(), progress):
        if body[0] > FLOOR:
            if calls:
                yield from call_lines.add(body)
            continue
        yield from call_lines.flush()
        entry = decode(body)
        if body[0] != COMMIT:
            if floors:
                yield _floor_line(entry)
            continue
        if entry.flags & ALIVE or (entry.flags & OBJECT and tombstones):
            yield _object_line(entry)
        elif not entry.flags & OBJECT and replies:
            yield _reply_line(entry)
    yield from call_lines.flush()


def _newest(source: Path, to_seq: int | None, files: Files, progress: Progress | None) -> Iterator[bytes]:
    directory = DataDirectory(source)
    manifest = directory.read_manifest()
    upto = to_seq if to_seq is not None else sys.maxsize
    base = whole_snapshot(directory, manifest, upto, files)
    after = base.entry.seq if base is not None else 0
    if base is None and manifest.segments[0] > 1:
        oldest = min(entry.seq for entry in manifest.snapshots)
        raise RestoreRefused(f"position {upto} is not covered; the oldest is {oldest}", oldest=str(oldest))
    log = Log(directory, manifest, files, progress)
    with tempfile.TemporaryDirectory(prefix="goverse-dump-") as folder:
        fold = Fold(Path(folder), files)
        last = after
        for body in log.records(after, to_seq):
            fold.add((body,))
            last = seq_of(body)
        if to_seq is not None and last < to_seq:
            raise RestoreRefused(f"position {to_seq} is not covered; the newest is {last}", newest=str(last))
        older = base.bodies(files) if base is not None else iter(())
        yield from fold.merged(older, now_ms=0, tombstones_before_ms=0)


def _object_line(entry: Body) -> str:
    line: dict[str, Any] = {
        "namespace": entry.namespace,
        "type": entry.type,
        "id": entry.id,
        "version": entry.version,
        "commit_seq": entry.seq,
        "modified_ms": entry.at_ms,
        "state_version": entry.state_version,
    }
    if entry.generation != 1:
        line["generation"] = entry.generation
    if entry.state is None:
        line["deleted"] = True
    else:
        if entry.creation is not None:
            line["creation"] = entry.creation.hex()
        line["state"] = _json(entry.state)
    return json.dumps(line, ensure_ascii=False, separators=(",", ":"))


def _reply_line(entry: Body) -> str:
    reply = decode_reply(entry.reply)
    line = {
        "namespace": entry.namespace,
        "type": entry.type,
        "id": entry.id,
        "idempotency_key": entry.idempotency_key,
        "commit_seq": reply.commit_seq,
        "expires_ms": reply.expires_ms,
        "fingerprint": reply.fingerprint.hex(),
        "reply": base64.b64encode(reply.reply).decode(),
    }
    return json.dumps(line, ensure_ascii=False, separators=(",", ":"))


def _floor_line(entry: Body) -> str:
    line = {"namespace": entry.namespace, "type": entry.type, "floor": entry.version}
    return json.dumps(line, ensure_ascii=False, separators=(",", ":"))


def _json(state: bytes) -> Any:
    try:
        return json.loads(state)
    except ValueError:
        # A node commits only JSON. Other bytes, from a direct user of the store, are shown in base64.
        return {"base64": base64.b64encode(state).decode()}
