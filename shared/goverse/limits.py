"""Every limit, with its reason. What an installation may want to change is a setting whose default is here.

Units are last in the name; relations between limits are asserted at the end.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

# --- names and ids: they are part of every record, so they stay small -------------------------------------------------
ID_BYTES_MAX: Final = 512
NAME_BYTES_MAX: Final = 128
NAMESPACE_BYTES_MAX: Final = 128
IDEMPOTENCY_KEY_BYTES_MAX: Final = 255
REQUEST_ID_BYTES_MAX: Final = 128
CALLER_BYTES_MAX: Final = 1 * KIB
TRACEPARENT_BYTES_MAX: Final = 512
PEER_NAME_BYTES_MAX: Final = 512  # id, incarnation, kind and release in an introduction; an id may be a long Pod's name

# --- one call: what a single caller may make the process hold ---------------------------------------------------------
BODY_BYTES_MAX: Final = 1 * MIB
RESULT_BYTES_MAX: Final = 4 * MIB
STATE_BYTES_MAX: Final = 4 * MIB
HEADERS_BYTES_MAX: Final = 64 * KIB  # uvicorn's parser refuses more
BODY_READ_TIMEOUT_S: Final = 30.0  # a slow sender holds at most its own body for this long
BODIES_BYTES_MAX: Final = 256 * MIB  # what clients sent and that is not answered yet, all together
ANSWERS_BYTES_MAX: Final = 256 * MIB  # answers that clients have not taken yet, all together
PROBLEM_DETAIL_BYTES_MAX: Final = 2 * KIB  # a problem is read by people; one that is larger is an attack or a mistake
PROBLEM_MEMBERS_BYTES_MAX: Final = 16 * KIB  # its further members, as JSON: 20 field errors of the longest kind fit
PROBLEM_FIELDS_MAX: Final = 20
PROBLEM_FIELD_BYTES_MAX: Final = 256  # a path or a message of one field error
LOG_TEXT_BYTES_MAX: Final = 32 * KIB  # one text of a log record, a traceback included
CHAIN_LENGTH_MAX: Final = 32  # object-to-object calls behind one request; a longer one is a runaway recursion

# --- time -------------------------------------------------------------------------------------------------------------
CALL_TIMEOUT_S: Final = 30.0
CREATE_TIMEOUT_S: Final = 10.0
CALL_TIMEOUT_S_MAX: Final = 300.0  # what GoVerse-Timeout may ask for
CALL_TIMEOUT_S_MIN: Final = 0.1  # less is raised to this: the gate looks at deadlines about every 50 ms
HOOK_TIMEOUT_S: Final = 10.0
CANCEL_GRACE_S: Final = 1.0  # a cancelled method that does not stop in this time is abandoned with its activation
DRAIN_TIMEOUT_S: Final = 20.0  # fits Kubernetes' default grace period of 30 s with room for the last save
PROCESS_HOOK_WARNING_S: Final = 10.0  # a start that takes longer says which @on_start function it waits for
COMMIT_STALL_S: Final = 5.0  # a store that holds a commit for longer, a disk that hangs, makes the node not ready

# --- queues -----------------------------------------------------------------------------------------------------------
MAILBOX_CALLS_MAX: Final = 1_000  # calls waiting for one object
INFLIGHT_CALLS_MAX: Final = 20_000  # calls inside one node
CONNECTIONS_MAX: Final = 20_000
LISTEN_BACKLOG: Final = 2_048  # connections that wait in the kernel, for example while a process restarts

# --- one connection: what it may hold without getting on --------------------------------------------------------------
HEAD_READ_TIMEOUT_S: Final = 10.0  # from the first byte of a request to the end of its headers; also for the first byte
KEEP_ALIVE_TIMEOUT_S: Final = 75.0  # longer than the 60 s that load balancers and client pools keep a connection
WRITE_STALL_TIMEOUT_S: Final = 30.0  # a reader that takes nothing of its answer for this long is cut off

# --- the stream between two processes ---------------------------------------------------------------------------------
WIRE_INFLIGHT_MAX: Final = INFLIGHT_CALLS_MAX  # one gate may use the whole node
WIRE_STREAMS_MAX: Final = 4_096  # gates' workers and nodes that one node serves: more than a thousand of either
WIRE_MESSAGE_BYTES: Final = 256 * KIB  # a message that reached this size is sent; a larger one would only wait longer
WIRE_MESSAGE_BYTES_MAX: Final = 16 * MIB
WIRE_REQUESTS_BYTES_MAX: Final = 64 * MIB  # bodies of requests under way on one stream
WIRE_REPLIES_BYTES: Final = 16 * MIB  # replies that a peer did not take yet; from here on nothing more is read from it
WIRE_REPLIES_BYTES_MAX: Final = 128 * MIB  # what was under way by then may still add up to this; then the stream is cut
WIRE_CONNECT_TIMEOUT_S: Final = 5.0
WIRE_BACKOFF_S: Final = 0.05  # before the second attempt to connect; doubles from there
WIRE_BACKOFF_S_MAX: Final = 5.0
WIRE_KEEPALIVE_S: Final = 2.0  # silence after which a sign of life is asked for
WIRE_SILENCE_S_MAX: Final = (
    8.0  # silence that means a frozen peer: below the lease's 10 s, above a long garbage collection
)

# --- certificates -----------------------------------------------------------------------------------------------------
TLS_LOOK_S: Final = 2.0  # between two looks at the files; a change is taken at the second look that sees it
TLS_EXPIRY_WARNING_S: Final = 14 * 86_400.0  # before the end of a certificate
TLS_EXPIRY_WARNING_SHARE: Final = 1 / 6  # of its life, where that is less: renewing at two thirds is then overdue

# --- etcd -------------------------------------------------------------------------------------------------------------
ETCD_OPERATION_TIMEOUT_S: Final = 60.0
ETCD_ATTEMPT_TIMEOUT_S: Final = 2.0  # one member's first chance to answer; doubles with each round, for a slow cluster
ETCD_CONNECT_TIMEOUT_S: Final = 2.0
ETCD_BACKOFF_S: Final = 0.05  # before the second round over the members; doubles from there
ETCD_BACKOFF_S_MAX: Final = 1.0
ETCD_KEEPALIVE_S: Final = 6.0  # pings; a server with its defaults hangs up on whoever sends more than one in 5 s
ETCD_KEEPALIVE_TIMEOUT_S: Final = 3.0
ETCD_WATCH_ASK_S: Final = 1.5  # silence of a watch after which a sign of life is asked for
ETCD_WATCH_SILENCE_S_MAX: Final = 5.0  # silence after which another member is asked; below the lease's 10 s
ETCD_MESSAGE_BYTES_MAX: Final = 64 * MIB  # everything of a cluster in one answer: 65 536 pins, 1 000 nodes with claims
COORDINATOR_CHANGES_MAX: Final = 128  # of one transaction, and as many guards: etcd's --max-txn-ops
COORDINATOR_KEY_BYTES_MAX: Final = 4 * KIB
COORDINATOR_VALUE_BYTES_MAX: Final = 1 * MIB  # all of one transaction; etcd takes 1.5 MiB with everything around them

# --- memory -----------------------------------------------------------------------------------------------------------
ACTIVATIONS_MAX: Final = 100_000
ACTIVATIONS_BYTES_MAX: Final = 512 * MIB
IDLE_TIMEOUT_S: Final = 900.0

# --- idempotency ------------------------------------------------------------------------------------------------------
IDEMPOTENCY_RETENTION_S: Final = 24 * 3600.0
KEPT_REPLIES_BYTES_MAX: Final = 1024 * MIB  # in the memory of the embedded store: five million small ones
KEPT_REPLIES_OBJECT_BYTES_MAX: Final = 256 * MIB  # large ones of one object: it does not use up the room of all others
KEPT_REPLIES_DISK_BYTES_MAX: Final = 256 * 1024 * MIB  # on PostgreSQL: days of thousands of small ones a second
TOMBSTONE_RETENTION_S: Final = 7 * 24 * 3600.0  # longer than any key that could still name the deleted object

# --- listing ----------------------------------------------------------------------------------------------------------
LIST_LIMIT: Final = 100
LIST_LIMIT_MAX: Final = 1_000

# --- embedded store ---------------------------------------------------------------------------------------------------
WAL_BATCH_MAX_BYTES: Final = 256 * KIB
WAL_BATCH_MAX_MS: Final = 0.0  # what comes during a commit is batched anyway; waiting for more cost throughput as well
WAL_SEGMENT_BYTES: Final = 256 * MIB
WAL_SNAPSHOT_BYTES: Final = 256 * MIB  # log written since the last snapshot that starts a new one
WAL_SNAPSHOTS_KEPT: Final = 2  # the newest may be damaged

# --- cluster ----------------------------------------------------------------------------------------------------------
CLUSTER_SHARDS: Final = 8_192
CLUSTER_SHARDS_MAX: Final = 65_536  # targets and claims stay one value far below what etcd takes
EPOCH_MAX: Final = 2**63 - 1  # a bigint in the store
LEASE_TTL_S: Final = 10.0
LEASE_REFRESHES: Final = 5  # keepalives within a lease's time: four may fail
LEASE_RETRY_S: Final = 0.25  # after a keepalive without an answer
LEASE_CLOCK_DRIFT: Final = 0.01  # the part of a lease that is not used: clocks may run unequally fast
CAMPAIGN_RETRY_S: Final = 0.5
CLAIM_RETRY_S: Final = 0.25  # after a claim, a publication or a check that failed
CLOSE_BUDGET_S: Final = 5.0  # turns of a shard that moves away and outlive this are cancelled
STUCK_AFTER_S: Final = 15.0  # a move that takes longer is stuck: reported, and resolved by force or by another target
STUCK_AVOID_S: Final = 30.0  # for how long a node gets none of the shards that it did not take
REJOIN_GRACE_S: Final = 5.0  # how long the shards of a node that restarts wait for it
GATHER_S: Final = 1.0  # a new leader waits this long for members that start at the same time
PLAN_PAUSE_S: Final = 0.25  # between two plans
LOAD_PAUSE_S: Final = 5.0  # between two plans that only new load figures ask for, and between two figures of a node
LOADS_PER_S_MAX: Final = 20.0  # load figures that all nodes of a cluster write together: each reaches every process
MOVES_PER_ROUND: Final = 256  # healthy shards that one plan moves
MOVES_IN_FLIGHT: Final = 512  # healthy shards on the way at any time
DECISIONS_KEPT: Final = 1_000  # what the leader can tell of its past decisions

# --- routing ----------------------------------------------------------------------------------------------------------
PARKED_CALLS_MAX: Final = 20_000  # calls in one router that wait for a shard's owner
PARK_RETRY_S: Final = 0.05  # first pause before a call tries the owner that did not take it; doubles
PARK_RETRY_S_MAX: Final = 1.0
RELEASE_RETRY_AFTER_S: Final = (
    5  # what a caller is told while nodes of two releases are there: an upgrade takes its time
)
TIMEOUT_RETRY_AFTER_S: Final = 1  # what a caller is told whose call found no owner in time
ROUTER_KEY_RETENTION_S: Final = 900.0  # keys that a router made; no call lives this long

assert STATE_BYTES_MAX >= BODY_BYTES_MAX
assert WAL_SEGMENT_BYTES >= 2 * (STATE_BYTES_MAX + RESULT_BYTES_MAX)
assert CALL_TIMEOUT_S_MIN <= CALL_TIMEOUT_S <= CALL_TIMEOUT_S_MAX
assert CREATE_TIMEOUT_S <= CALL_TIMEOUT_S
assert TOMBSTONE_RETENTION_S >= IDEMPOTENCY_RETENTION_S
assert RESULT_BYTES_MAX <= KEPT_REPLIES_OBJECT_BYTES_MAX <= KEPT_REPLIES_BYTES_MAX
assert LIST_LIMIT <= LIST_LIMIT_MAX
assert BODIES_BYTES_MAX >= 16 * BODY_BYTES_MAX
assert ANSWERS_BYTES_MAX >= 16 * RESULT_BYTES_MAX
assert PROBLEM_FIELDS_MAX * 2 * (PROBLEM_FIELD_BYTES_MAX + 32) <= PROBLEM_MEMBERS_BYTES_MAX
assert WAL_SNAPSHOTS_KEPT >= 1
assert WIRE_MESSAGE_BYTES + max(BODY_BYTES_MAX, RESULT_BYTES_MAX, STATE_BYTES_MAX) + MIB <= WIRE_MESSAGE_BYTES_MAX
assert WIRE_REQUESTS_BYTES_MAX >= 16 * BODY_BYTES_MAX
assert WIRE_REPLIES_BYTES_MAX >= WIRE_REPLIES_BYTES >= WIRE_MESSAGE_BYTES_MAX
assert 2 * WIRE_KEEPALIVE_S <= WIRE_SILENCE_S_MAX
assert CLUSTER_SHARDS & (CLUSTER_SHARDS - 1) == 0
assert CLUSTER_SHARDS <= CLUSTER_SHARDS_MAX
assert LEASE_TTL_S / LEASE_REFRESHES + LEASE_RETRY_S < LEASE_TTL_S * (1 - LEASE_CLOCK_DRIFT)
assert CLOSE_BUDGET_S < STUCK_AFTER_S
assert CLOSE_BUDGET_S + CANCEL_GRACE_S < DRAIN_TIMEOUT_S
assert CLOSE_BUDGET_S + REJOIN_GRACE_S <= LEASE_TTL_S  # shards of a node that dies while it leaves wait no longer
assert MOVES_PER_ROUND <= MOVES_IN_FLIGHT
assert PARK_RETRY_S <= PARK_RETRY_S_MAX
assert ROUTER_KEY_RETENTION_S >= 2 * CALL_TIMEOUT_S_MAX
assert 2 * ETCD_WATCH_ASK_S <= ETCD_WATCH_SILENCE_S_MAX
assert ETCD_ATTEMPT_TIMEOUT_S <= ETCD_OPERATION_TIMEOUT_S
assert ETCD_KEEPALIVE_S > 5.0
