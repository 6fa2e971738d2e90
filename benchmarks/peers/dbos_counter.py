"""Workflows in a DBOS queue that add to counters in PostgreSQL, and their producers.

Run ``python dbos_counter.py DSN NUMBER`` in the environment of scripts/benchmark_peers.sh.

Configured for speed: one process per core, each with its own queue, so that no process waits for the lock of another
one; the queue is polled every 20 ms instead of every second; a pool with a connection for each thread. The workflow
has no step, so its effect is not recorded apart from its end, and it can have it twice.
"""

import sys
import threading
from itertools import count

from dbos import DBOS, DBOSConfig
from psycopg_pool import ConnectionPool

THREADS = 16
PRODUCERS = 4
UNFINISHED_MAX = 500
RECEIVERS = 1_000
ADD = """
INSERT INTO receivers AS present (id, value) VALUES (%s, 1)
ON CONFLICT (id) DO UPDATE SET value = present.value + 1
"""

dsn, number = sys.argv[1:]
queue = f"queue-{number}"
config: DBOSConfig = {
    "name": "counters",
    "system_database_url": dsn,
    "sys_db_pool_size": THREADS + PRODUCERS + 4,
    "max_executor_threads": THREADS,
    "executor_id": number,
    "application_version": "1",
    "log_level": "WARNING",
}
pool = ConnectionPool(dsn, min_size=THREADS, max_size=THREADS, open=False, kwargs={"autocommit": True})
room = threading.Semaphore(UNFINISHED_MAX)
receivers = count()


@DBOS.workflow()
def add(receiver: int) -> None:
    """Add to a counter."""
    with pool.connection() as connection:
        connection.execute(ADD, (receiver,))
    room.release()


def produce() -> None:
    """Enqueue further workflows while few are unfinished."""
    while True:
        room.acquire()
        DBOS.enqueue_workflow(queue, add, next(receivers) % RECEIVERS)


if __name__ == "__main__":
    pool.open(wait=True)
    DBOS(config=config)
    DBOS.listen_queues([queue])
    DBOS.launch()
    DBOS.register_queue(queue, worker_concurrency=4 * THREADS, polling_interval_sec=0.02)
    print("started", flush=True)
    for _ in range(PRODUCERS):
        threading.Thread(target=produce, daemon=True).start()
    threading.Event().wait()
