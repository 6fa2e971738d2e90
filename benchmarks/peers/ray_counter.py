"""The counter in Ray Serve. An actor is a process, so each actor has the counters of one shard, in memory only.

Run ``python ray_counter.py PORT`` in the environment of scripts/benchmark_peers.sh. It runs until SIGTERM or SIGINT.
"""

import signal
import sys
from collections import defaultdict
from zlib import crc32

import ray
from ray import serve
from starlette.requests import Request

SHARDS = 2


@ray.remote(num_cpus=0.5)
class Counters:
    """The counters of one shard."""

    def __init__(self) -> None:
        """Start without counters."""
        self.values: defaultdict[str, int] = defaultdict(int)

    async def increment(self, key: str, by: int) -> int:
        """Add to a value."""
        self.values[key] += by
        return self.values[key]


@serve.deployment(num_replicas=1, max_ongoing_requests=256)
class Ingress:
    """Forwards a call to the actor of its key."""

    def __init__(self) -> None:
        """Start the actors."""
        self.shards = [Counters.remote() for _ in range(SHARDS)]

    async def __call__(self, request: Request) -> int:
        """Add to the value of the key in the last segment of the path."""
        by = (await request.json())["by"]
        key = request.url.path.rpartition("/")[2]
        return await self.shards[crc32(key.encode()) % SHARDS].increment.remote(key, by)


if __name__ == "__main__":
    ray.init(num_cpus=4, include_dashboard=False, logging_level="ERROR")
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Ingress.bind())
    print("ready", flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
