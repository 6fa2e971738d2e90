"""Jobs of procrastinate that add to counters in PostgreSQL, and their producer.

Run ``python procrastinate_counter.py DSN NUMBER`` in the environment of scripts/benchmark_peers.sh.

Configured for speed as its documentation recommends: asynchronous tasks that run concurrently in one worker per core,
jobs deferred in batches, jobs deleted after a success, and a pool with a connection for each concurrent task. There is
no lock, so the jobs of a counter keep no order. An effect is not in the transaction that ends its job, so a job can
have it twice.
"""

import asyncio
import sys
from itertools import count

from procrastinate import App, PsycopgConnector
from procrastinate.exceptions import ConnectorException

CONCURRENCY = 32
BATCH = 100
UNFINISHED_MAX = 500
RECEIVERS = 1_000
ADD = """
INSERT INTO receivers AS present (id, value) VALUES (%(receiver)s, 1)
ON CONFLICT (id) DO UPDATE SET value = present.value + 1
"""

dsn, queue = sys.argv[1], f"queue-{sys.argv[2]}"
app = App(connector=PsycopgConnector(conninfo=dsn, min_size=CONCURRENCY, max_size=CONCURRENCY + 4))
room = asyncio.Semaphore(UNFINISHED_MAX)
receivers = count()


@app.task(queue=queue, name="add")
async def add(receiver: int) -> None:
    """Add to a counter."""
    await app.connector.execute_query_async(ADD, receiver=receiver)
    room.release()


async def produce() -> None:
    """Defer further jobs while few are unfinished."""
    while True:
        for _ in range(BATCH):
            await room.acquire()
        await add.batch_defer_async(*({"receiver": next(receivers) % RECEIVERS} for _ in range(BATCH)))


async def main() -> None:
    """Work until the process is killed."""
    async with app.open_async():
        try:
            await app.schema_manager.apply_schema_async()
        except ConnectorException:
            print("the tables exist")
        print("started", flush=True)
        polling = {"listen_notify": False, "fetch_job_polling_interval": 0.05}  # a busy worker needs no notifications
        options = {"concurrency": CONCURRENCY, "delete_jobs": "successful", **polling}
        await asyncio.gather(produce(), app.run_worker_async(queues=[queue], **options))


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())
