"""The requirements that this release delivers, as data.

Each id has at least one test that carries it, `@pytest.mark.requirement("WAL-1")`, and that would fail
without it. Where only a part is delivered, `KNOWN_GAPS` says what is missing, so that a gap is an entry and
not silence. `tests/unit/test_requirements.py` keeps both in step with the tests. Ids are never reused.
"""

DELIVERED: dict[str, str] = {
    "OBJ-1": "Typed classes with persistent fields; `@call` exports a method, nothing else is reachable.",
    "OBJ-2": "One turn at a time, readonly calls concurrent, re-entrancy by choice, `deadlock` not a hang.",
    "OBJ-3": "Activation by the first call, explicit create, delete with tombstone, ids of any form.",
    "OBJ-4": "Hooks on create, activate, deactivate and delete, bounded in time, with a defined failure.",
    "OBJ-5": "Passivation when idle and under a memory bound, least recently used first; the state survives.",
    "OBJ-8": "Typed calls from object to object with copied arguments.",
    "OBJ-9": "A method that raises, never ends or returns the wrong type harms nobody else.",
    "OBJ-11": "Versioned state with migration functions.",
    "DUR-1": "An acknowledged call survives a kill at any instant; commits are grouped.",
    "DUR-2": "Idempotency keys commit with the effect and survive passivation, crash, restart and restore.",
    "DUR-5": "One storage port with several stores behind it, under one contract suite.",
    "WAL-1": "Checksummed log; torn tail cut; a failed fsync stops acknowledging; rotation; one writer.",
    "WAL-2": "Snapshot and trim while serving; start from the newest valid snapshot and the tail after it.",
    "WAL-3": "Point-in-time restore, dump, and a diff that can fail; restore verifies every checksum.",
    "WAL-4": "A format with a version; a newer one is refused with a clear error.",
    "GATE-1": "The HTTP surface, a typed OpenAPI 3.1 of the classes, Swagger UI from local files.",
    "GATE-6": "Default timeouts everywhere, the deadline passed end to end, `timeout` errors and metrics.",
    "GATE-9": "Limits for body, headers and id; slow clients cannot hold memory.",
    "GATE-10": "CORS by configuration, compression where it pays, request ids, access log.",
    "OBS-1": "The metrics of the contracts on `/metrics`.",
    "OBS-3": "JSON logs that carry the request and the object.",
    "DOC-1": "Getting started, from nothing to a restarted object, each command run by a test.",
    "QUA-1": "One command runs the main job on a fresh machine, one passes the tests.",
    "QUA-3": "Benchmarks side by side with what a user would pick instead, with machine and commands.",
    "QUA-5": "Latency of one warm node at a fixed rate, reported with the rate.",
}

KNOWN_GAPS: dict[str, str] = {
    "OBJ-3": "Fixed-shard and fixed-node ids have no shard to be fixed to before there is a cluster.",
    "OBJ-8": "Calls to objects on another node come with the cluster.",
    "OBJ-11": "Old and new nodes serving together come with the cluster.",
    "DUR-1": "Shown for the embedded store; PostgreSQL comes with the cluster.",
    "DUR-2": "Migration between nodes comes with the cluster.",
    "DUR-5": "Memory and WAL; PostgreSQL and further backends come with the cluster.",
    "GATE-1": "Without streams, query and tokens; the OpenAPI is that of one process.",
    "GATE-9": "There are no streams to count yet.",
    "OBS-1": "Without the metrics of shards, streams and tokens, without dashboards and recording rules.",
    "OBS-3": "Without trace, node and shard in the record.",
    "QUA-5": "There are no streams to lag yet.",
    "DOC-1": "Locally; Kubernetes comes with the chart.",
}
