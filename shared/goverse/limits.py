"""All limits, each with its reason.

Limits that an installation may have to change are also settings; their defaults are defined here. A name ends with its
unit. The assertions at the end check the relations between limits.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

# --- names and ids: part of every record, therefore small -------------------------------------------------------------
ID_BYTES_MAX: Final = 512
NAME_BYTES_MAX: Final = 128
NAMESPACE_BYTES_MAX: Final = 128
IDEMPOTENCY_KEY_BYTES_MAX: Final = 255
REQUEST_ID_BYTES_MAX: Final = 128
CALL_ID_BYTES_MAX: Final = 1 * KIB  # of a reliable call: the longest object id and a prefix fit
CALLER_BYTES_MAX: Final = 1 * KIB
TRACESTATE_BYTES_MAX: Final = 512  # the W3C specification asks for at least this
PEER_NAME_BYTES_MAX: Final = 512  # id, incarnation, kind and release in a handshake; the id may be a long Pod name

# --- one call: memory that a single caller can use in the process -----------------------------------------------------
BODY_BYTES_MAX: Final = 1 * MIB
RESULT_BYTES_MAX: Final = 4 * MIB
STATE_BYTES_MAX: Final = 4 * MIB
SENDS_BYTES_MAX: Final = 16 * MIB  # all reliable calls of one turn, which are one commit record: 10 000 of 1 KiB fit
HEADERS_BYTES_MAX: Final = 64 * KIB  # the limit of uvicorn's parser
BODY_READ_TIMEOUT_S: Final = 30.0  # a slow client occupies at most one body for this long
BODIES_BYTES_MAX: Final = 256 * MIB  # all request bodies without a response yet
ANSWERS_BYTES_MAX: Final = 256 * MIB  # all responses that clients have not read yet
PROBLEM_DETAIL_BYTES_MAX: Final = 2 * KIB  # people read it; a larger one is an attack or a mistake
PROBLEM_MEMBERS_BYTES_MAX: Final = 16 * KIB  # the other members as JSON; 20 field errors of maximum length fit
PROBLEM_FIELDS_MAX: Final = 20
PROBLEM_FIELD_BYTES_MAX: Final = 256  # the path or the message of one field error
LOG_TEXT_BYTES_MAX: Final = 32 * KIB  # one text of a log record, traceback included
CHAIN_LENGTH_MAX: Final = 32  # nested object-to-object calls of one request; more is a runaway recursion

# --- time -------------------------------------------------------------------------------------------------------------
CALL_TIMEOUT_S: Final = 30.0
CREATE_TIMEOUT_S: Final = 10.0
CALL_TIMEOUT_S_MAX: Final = 300.0  # the largest value of the GoVerse-Timeout header
CALL_TIMEOUT_S_MIN: Final = 0.1  # smaller values are raised to this: the gate checks deadlines about every 50 ms
HOOK_TIMEOUT_S: Final = 10.0
CANCEL_GRACE_S: Final = 1.0  # a cancelled method that runs for longer is abandoned together with its activation
DRAIN_TIMEOUT_S: Final = 20.0  # fits the default grace period of Kubernetes (30 s) with time for the last commits
PROCESS_HOOK_WARNING_S: Final = 10.0  # a slower start logs the @on_start function that it waits for
COMMIT_STALL_S: Final = 5.0  # the node is not ready while a commit takes longer, for example on a hanging disk

# --- queues -----------------------------------------------------------------------------------------------------------
MAILBOX_CALLS_MAX: Final = 1_000  # calls waiting for one object
INFLIGHT_CALLS_MAX: Final = 20_000  # calls inside one node
CONNECTIONS_MAX: Final = 20_000
LISTEN_BACKLOG: Final = 2_048  # connections queued in the kernel, for example while a process restarts

# --- one connection without progress ----------------------------------------------------------------------------------
HEAD_READ_TIMEOUT_S: Final = 10.0  # for the headers of a request, and for the first byte on a new connection
KEEP_ALIVE_TIMEOUT_S: Final = 75.0  # longer than the 60 s for which load balancers and client pools keep a connection
WRITE_STALL_TIMEOUT_S: Final = 30.0  # a client that reads nothing of its response for this long is disconnected

# --- the stream between two processes ---------------------------------------------------------------------------------
WIRE_INFLIGHT_MAX: Final = INFLIGHT_CALLS_MAX  # one gate may use the whole node
WIRE_STREAMS_MAX: Final = 4_096  # streams from gate workers and nodes to one node: over a thousand of each
WIRE_MESSAGE_BYTES: Final = 256 * KIB  # a message is sent once it has this size; waiting for more adds only latency
WIRE_MESSAGE_BYTES_MAX: Final = 16 * MIB
WIRE_REQUESTS_BYTES_MAX: Final = 64 * MIB  # bodies of unanswered requests on one stream
WIRE_REPLIES_BYTES: Final = 16 * MIB  # unread replies to one peer; above this, nothing more is read from it
WIRE_REPLIES_BYTES_MAX: Final = 128 * MIB  # with the replies to calls that ran then; above this, the stream is cut
WIRE_CONNECT_TIMEOUT_S: Final = 5.0
WIRE_BACKOFF_S: Final = 0.05  # before the second attempt to connect; doubles from there
WIRE_BACKOFF_S_MAX: Final = 5.0
WIRE_KEEPALIVE_S: Final = 2.0  # silence after which a ping is sent
WIRE_SILENCE_S_MAX: Final = 8.0  # silence after which a peer counts as frozen: below the lease's 10 s, above a long GC

# --- certificates -----------------------------------------------------------------------------------------------------
TLS_LOOK_S: Final = 2.0  # between two checks of the files; a change is applied at the second check that sees it
TLS_EXPIRY_WARNING_S: Final = 14 * 86_400.0  # before a certificate expires
TLS_EXPIRY_WARNING_SHARE: Final = 1 / 6  # of its lifetime, if that is less: a renewal at two thirds is overdue by then

# --- etcd -------------------------------------------------------------------------------------------------------------
ETCD_OPERATION_TIMEOUT_S: Final = 60.0
ETCD_ATTEMPT_TIMEOUT_S: Final = 2.0  # first attempt at one member; doubles with each round, for a slow cluster
ETCD_CONNECT_TIMEOUT_S: Final = 2.0
ETCD_BACKOFF_S: Final = 0.05  # before the second round over the members; doubles from there
ETCD_BACKOFF_S_MAX: Final = 1.0
ETCD_KEEPALIVE_S: Final = 6.0  # between pings; by default, an etcd server disconnects clients that ping every 5 s
ETCD_KEEPALIVE_TIMEOUT_S: Final = 3.0
ETCD_WATCH_ASK_S: Final = 1.5  # silence of a watch after which its progress is requested
ETCD_WATCH_SILENCE_S_MAX: Final = 5.0  # silence after which the watch moves to another member; below the lease's 10 s
ETCD_MESSAGE_BYTES_MAX: Final = 64 * MIB  # a response with all keys of a cluster: 65 536 pins, 1 000 nodes with claims
COORDINATOR_CHANGES_MAX: Final = 128  # changes per transaction, and guards per transaction: etcd's --max-txn-ops
COORDINATOR_KEY_BYTES_MAX: Final = 4 * KIB
COORDINATOR_VALUE_BYTES_MAX: Final = 1 * MIB  # all values of one transaction; etcd accepts requests of 1.5 MiB

# --- memory -----------------------------------------------------------------------------------------------------------
ACTIVATIONS_MAX: Final = 100_000
ACTIVATIONS_BYTES_MAX: Final = 512 * MIB
IDLE_TIMEOUT_S: Final = 900.0

# --- idempotency ------------------------------------------------------------------------------------------------------
IDEMPOTENCY_RETENTION_S: Final = 24 * 3600.0
KEPT_REPLIES_BYTES_MAX: Final = 1024 * MIB  # in the memory of the embedded store: five million small replies
KEPT_REPLIES_OBJECT_BYTES_MAX: Final = 256 * MIB  # large replies of one object, so that it leaves room for the others
KEPT_REPLIES_DISK_BYTES_MAX: Final = 256 * 1024 * MIB  # in PostgreSQL: thousands of small replies per second for days
TOMBSTONE_RETENTION_S: Final = 7 * 24 * 3600.0  # longer than any idempotency key of the deleted object is kept

# --- reliable calls ---------------------------------------------------------------------------------------------------
DELIVERY_TIMEOUT_S: Final = 30.0  # one attempt; a handoff of a shard cancels turns long before
FAILED_CALLS_RETENTION_S: Final = 30 * 86_400.0  # people look at failures weeks later
EXPIRED_CALLS_RETENTION_S: Final = 30 * 86_400.0
CANCELLED_CALLS_RETENTION_S: Final = 86_400.0  # it was intended, so hardly anyone asks
DEAD_LETTERS_RETENTION_S: Final = 30 * 86_400.0  # the time in which they can be sent again
CALLS_RETENTION_S_MAX: Final = 3_660 * 86_400.0  # ten years, which fits the partitions of PostgreSQL
SEND_DELAY_S_MAX: Final = 366 * 86_400.0  # of a call that a client sends; who plans further ahead has objects for that
SEND_ATTEMPTS_MAX: Final = 5  # of such a call: a failing one holds up the later ones of its object for seconds only
SEND_EXPIRES_S: Final = 7 * 86_400.0  # counted from the time at which it is due
KEPT_RESULT_BYTES_MAX: Final = 64 * KIB  # of one self.once: an answer of another service, not a document
KEPT_RESULTS_MAX: Final = 100  # of one object; they stay in memory
KEPT_RESULT_NAME_BYTES_MAX: Final = 256
SAGA_STEPS_MAX: Final = 100  # their arguments are in one record, which is written again with each step
SAGA_RESULT_BYTES_MAX: Final = 64 * KIB  # of one step; a saga keeps all of them until it ends
SAGA_NAME_BYTES_MAX: Final = 256
CALL_WAITS_MAX: Final = 10_000  # requests in one node that wait for the end of a call; each takes about 1 KiB
CALLS_SCANNED_MAX: Final = 10_000  # pending calls that one request for a page of a list reads
FORGOTTEN_CALLS_MAX: Final = 10_000  # ended calls that one request removes

# --- listing ----------------------------------------------------------------------------------------------------------
CALL_WAIT_S_MAX: Final = 60  # the longest wait for the end of a reliable call in one HTTP request
LIST_LIMIT: Final = 100
LIST_LIMIT_MAX: Final = 1_000

# --- embedded store ---------------------------------------------------------------------------------------------------
WAL_BATCH_MAX_BYTES: Final = 256 * KIB
WAL_BATCH_MAX_MS: Final = 0.0  # records that arrive during a commit form the next batch; waiting cost throughput too
WAL_SEGMENT_BYTES: Final = 256 * MIB
WAL_SNAPSHOT_BYTES: Final = 256 * MIB  # log size since the last snapshot at which the next snapshot starts
WAL_SNAPSHOTS_KEPT: Final = 2  # in case the newest is damaged

# --- cluster ----------------------------------------------------------------------------------------------------------
CLUSTER_SHARDS: Final = 8_192
CLUSTER_SHARDS_MAX: Final = 65_536  # targets and claims fit into one value far below etcd's limit
EPOCH_MAX: Final = 2**63 - 1  # a bigint in the store
LEASE_TTL_S: Final = 10.0
LEASE_REFRESHES: Final = 5  # keepalives per lease time; four of them may fail
LEASE_RETRY_S: Final = 0.25  # after an unanswered keepalive
LEASE_CLOCK_DRIFT: Final = 0.01  # the unused share of a lease: clocks may run at different speeds
CAMPAIGN_RETRY_S: Final = 0.5
CLAIM_RETRY_S: Final = 0.25  # after a failed claim, publication or check
CLOSE_BUDGET_S: Final = 5.0  # turns that still run after this time are cancelled when their shard moves away
STUCK_AFTER_S: Final = 15.0  # a slower move is stuck: it is reported, then forced or given another target
STUCK_AVOID_S: Final = 30.0  # for this long, a node does not get the shards again that it failed to take
REJOIN_GRACE_S: Final = 5.0  # the shards of a restarting node stay assigned to it for this long
GATHER_S: Final = 1.0  # a new leader waits this long for members that start at the same time
PLAN_PAUSE_S: Final = 0.25  # between two plans
LOAD_PAUSE_S: Final = 5.0  # between two plans caused by load figures only, and between two figures of a node
LOADS_PER_S_MAX: Final = 20.0  # load figures written by all nodes of a cluster together; every process reads each
MOVES_PER_ROUND: Final = 256  # healthy shards moved by one plan
MOVES_IN_FLIGHT: Final = 512  # healthy shards moving at the same time
DECISIONS_KEPT: Final = 1_000  # past decisions that the leader can report

# --- routing ----------------------------------------------------------------------------------------------------------
PARKED_CALLS_MAX: Final = 20_000  # calls in one router that wait for a shard's owner
PARK_RETRY_S: Final = 0.05  # before the first retry at an owner that did not accept the call; doubles
PARK_RETRY_S_MAX: Final = 1.0
RELEASE_RETRY_AFTER_S: Final = 5  # Retry-After while nodes of two releases serve: an upgrade takes a while
TIMEOUT_RETRY_AFTER_S: Final = 1  # Retry-After of a call that found no owner before its deadline
ROUTER_KEY_RETENTION_S: Final = 900.0  # of keys made by a router; longer than any call

# --- reliable calls ---------------------------------------------------------------------------------------------------
DELIVERY_AGE_S_MAX: Final = 600.0  # of a delivery that arrives: stores may forget a receipt 15 min after its last use
RECEIPTS_IN_MEMORY: Final = 64  # of one object, beside those of the deliveries in progress; the store has the others

assert STATE_BYTES_MAX >= BODY_BYTES_MAX
assert WAL_SEGMENT_BYTES >= 2 * (STATE_BYTES_MAX + RESULT_BYTES_MAX + SENDS_BYTES_MAX)
assert SENDS_BYTES_MAX >= 2 * STATE_BYTES_MAX  # a call with the largest arguments can be sent, beside others
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
assert CLOSE_BUDGET_S + REJOIN_GRACE_S <= LEASE_TTL_S  # bounds the wait for shards of a node that dies while it leaves
assert MOVES_PER_ROUND <= MOVES_IN_FLIGHT
assert PARK_RETRY_S <= PARK_RETRY_S_MAX
assert CALL_WAITS_MAX <= WIRE_INFLIGHT_MAX // 2  # a gate that waits for as many ends as possible can still call
assert ROUTER_KEY_RETENTION_S >= 2 * CALL_TIMEOUT_S_MAX
assert DELIVERY_AGE_S_MAX + CALL_TIMEOUT_S_MAX <= ROUTER_KEY_RETENTION_S  # the age on arrival, and the wait after it
assert 2 * ETCD_WATCH_ASK_S <= ETCD_WATCH_SILENCE_S_MAX
assert ETCD_ATTEMPT_TIMEOUT_S <= ETCD_OPERATION_TIMEOUT_S
assert ETCD_KEEPALIVE_S > 5.0
