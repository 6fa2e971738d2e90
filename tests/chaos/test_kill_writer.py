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
from typing import IO

import pytest

from goverse_node.stores.wal.admin import verify
from tests import preloaded
from tests.integration.stores.samples import key, opened, segments_of

KILLS = 110
OBJECTS = 8
PATIENCE_S = 60.0


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


def start_writer(directory: Path, seed: int, printed: int, log: IO[bytes]) -> preloaded.Started:
    """Start a writer, which prints its attempts and the acknowledgements."""
    command = ("tests.chaos.writer", str(directory), str(seed), str(OBJECTS))
    return preloaded.start(*command, cwd=None, env=os.environ, stdio=(0, printed, log))


def read_some(process: preloaded.Started, stream: IO[bytes], chance: random.Random) -> list[bytes]:
    """Read until a random moment: some lines, a random time, or a finished snapshot and some lines."""
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
    data, log = tmp_path / "data", tmp_path / "writers.log"
    ledger = Ledger()
    for kill in range(KILLS):
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb") as stream, log.open("ab") as errors:
            process = start_writer(data, seed + kill, writing, errors)
            os.close(writing)
            before = read_some(process, stream, chance)
            process.kill()
            rest = stream.readlines()
            assert process.wait(PATIENCE_S) == -signal.SIGKILL, log.read_text()
        ledger.read(before + rest)

    assert "Traceback" not in log.read_text()
    assert ledger.last_seq > KILLS, f"GOVERSE_TEST_SEED={seed}"
    async with opened(data, snapshot_bytes=60_000) as store:
        assert store.health().commit_seq >= ledger.last_seq
        changes = [change.commit_seq for change in await store.changes(int(segments_of(data)[0].stem) - 1, 1 << 30)]
        assert changes == list(range(changes[0], store.health().commit_seq + 1)), "the feed has a gap"
        for object_id, acknowledged in ledger.acknowledged.items():
            found = store.load(key(object_id))
            version = found.version if found is not None else 0
            assert acknowledged <= version <= max(ledger.tried[object_id], acknowledged)
            for n in range(version):
                kept = store.recall(key(object_id), f"k{object_id[1:]}-{n}")
                assert kept is not None
                assert json.loads(kept.reply) == n + 1
    assert verify(data).problems == []
