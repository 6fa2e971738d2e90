"""The rules of the cluster: membership, leader election, shard targets, claims, and the delivery of calls.

Nothing here does IO or reads a clock. Functions take values and ``now`` and return what to do; the code that does it is
in the node and in the gate (``docs/design/cluster.md``).
"""
