"""A writer is killed at random moments, repeatedly: acknowledged records are durable and exist exactly once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from goverse_node.stores.wal.admin import verify
from tests.integration.stores.samples import key, opened, segments_of

KILLS = 110
OBJECTS = 8

WRITER = """
import asyncio, os, random, sys
from pathlib import Path
from goverse.model.records import CommitRecord
from tests.integration.stores.samples import call, key, wal_store

directory, seed, objects = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
pick = random.Random(seed)

async def main():
    store = wal_store(directory, segment_bytes=30_000, snapshot_bytes=60_000)
    await store.open()
    versions = [found.version if (found := store.load(key(f"c{n}"))) else 0 for n in range(objects)]
    made = 0
    os.write(1, b"o %d\\n" % store.health().commit_seq)
    while True:
        batch = []
        for _ in range(pick.choice((1, 1, 3, 16))):
            n = pick.randrange(objects)
            batch.append(call(f"c{n}", versions[n], f"k{n}-{versions[n]}"))
            versions[n] += 1
        os.write(1, b"".join(b"t %s %d\\n" % (one.key.id.encode(), one.version) for one in batch))
        seqs = await store.commit(batch)
        if store.stats().snapshots_made > made:
            made = store.stats().snapshots_made
            os.write(1, b"s\\n")
        lines = (b"a %s %d %d\\n" % (one.key.id.encode(), one.version, seq) for one, seq in zip(batch, seqs))
        os.write(1, b"".join(lines))

asyncio.run(main())
"""


class Ledger:
    """The output of the writers: attempts and acknowledgements."""

    def __init__(self) -> None:
        self.acknowledged = {f"c{n}": 0 for n in range(OBJECTS)}
        self.tried = {f"c{n}": 0 for n in range(OBJECTS)}
        self.last_seq = 0
        self.snapshots = 0

    def read(self, lines: list[bytes]) -> None:
        """Read the output of one writer; positions only grow."""
        for line in lines:
            if not line.endswith(b"\n"):
                continue
            word, *rest = line.split()
            if word == b"o":
                assert int(rest[0]) >= self.last_seq, "an acknowledged position was lost"
                self.last_seq = int(rest[0])
            elif word == b"s":
                self.snapshots += 1
            elif word == b"t":
                self.tried[rest[0].decode()] = max(self.tried[rest[0].decode()], int(rest[1]))
            else:
                self.acknowledged[rest[0].decode()] = int(rest[1])
                assert int(rest[2]) > self.last_seq, "a position was used twice"
                self.last_seq = int(rest[2])


def start_writer(directory: Path, seed: int) -> subprocess.Popen[bytes]:
    """Start a writer, which prints its attempts and the acknowledgements."""
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(directory), str(seed), str(OBJECTS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PYTHONPATH": ":".join(part for part in sys.path if part)},
    )


def read_some(process: subprocess.Popen[bytes], chance: random.Random) -> list[bytes]:
    """Read until a random moment: some lines, a random time, or a finished snapshot and some lines."""
    stream = process.stdout
    assert stream is not None
    lines: list[bytes] = []
    way = chance.randrange(20)
    if way == 0:
        for line in stream:
            lines.append(line)
            if line == b"s\n":
                break
    elif way < 8:
        with suppress(subprocess.TimeoutExpired):
            process.wait(chance.uniform(0, 0.3))
    lines += [line for _ in range(chance.choice((0, 1, 2, 5, 20, 200, 1_000))) if (line := stream.readline())]
    return lines


@pytest.mark.chaos
@pytest.mark.requirement("DUR-1", "DUR-2", "WAL-1", "WAL-2")
async def test_nothing_acknowledged_is_lost_or_doubled_over_many_kills(tmp_path: Path) -> None:
    seed = int(os.environ.get("GOVERSE_TEST_SEED", random.SystemRandom().randrange(1 << 32)))
    sys.stdout.write(f"GOVERSE_TEST_SEED={seed}\n")
    chance = random.Random(seed)
    ledger = Ledger()
    for kill in range(KILLS):
        with start_writer(tmp_path, seed + kill) as process:
            before = read_some(process, chance)
            process.send_signal(signal.SIGKILL)
            assert process.stdout is not None
            rest = process.stdout.readlines()
            assert process.stderr is not None
            assert b"Traceback" not in process.stderr.read()
        ledger.read(before + rest)

    assert ledger.last_seq > KILLS, f"GOVERSE_TEST_SEED={seed}"
    async with opened(tmp_path, snapshot_bytes=60_000) as store:
        assert store.health().commit_seq >= ledger.last_seq
        changes = [change.commit_seq for change in await store.changes(int(segments_of(tmp_path)[0].stem) - 1, 1 << 30)]
        assert changes == list(range(changes[0], store.health().commit_seq + 1)), "the feed has a gap"
        for object_id, acknowledged in ledger.acknowledged.items():
            found = store.load(key(object_id))
            version = found.version if found is not None else 0
            assert acknowledged <= version <= max(ledger.tried[object_id], acknowledged)
            for n in range(version):
                kept = store.recall(key(object_id), f"k{object_id[1:]}-{n}")
                assert kept is not None
                assert json.loads(kept.reply) == n + 1
    assert verify(tmp_path).problems == []
