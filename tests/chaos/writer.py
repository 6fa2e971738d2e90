"""A program that writes to a WAL store until it is killed.

    python -m tests.chaos.writer DIRECTORY SEED OBJECTS

Each line that it prints is an event: ``o SEQ`` when the store is open, ``t ID VERSION`` before an attempt,
``a ID VERSION SEQ`` after its acknowledgement, and ``s`` after a snapshot.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path

from goverse.model.records import CommitRecord
from tests.integration.stores.samples import call, key, wal_store


async def write(directory: Path, objects: int, chance: random.Random) -> None:
    """Write to the store in this directory, and print what happens."""
    store = wal_store(directory, segment_bytes=30_000, snapshot_bytes=60_000)
    await store.open()
    versions = [found.version if (found := store.load(key(f"c{n}"))) else 0 for n in range(objects)]
    made = 0
    os.write(1, b"o %d\n" % store.health().commit_seq)
    while True:
        batch: list[CommitRecord] = []
        for _ in range(chance.choice((1, 1, 3, 16))):
            n = chance.randrange(objects)
            batch.append(call(f"c{n}", versions[n], f"k{n}-{versions[n]}"))
            versions[n] += 1
        os.write(1, b"".join(b"t %s %d\n" % (one.key.id.encode(), one.version) for one in batch))
        seqs = [seq for seq in await store.commit(batch) if isinstance(seq, int)]
        if store.stats().snapshots_made > made:
            made = store.stats().snapshots_made
            os.write(1, b"s\n")
        pairs = zip(batch, seqs, strict=True)
        os.write(1, b"".join(b"a %s %d %d\n" % (one.key.id.encode(), one.version, seq) for one, seq in pairs))


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1]), int(sys.argv[3]), random.Random(int(sys.argv[2]))))
