"""The cluster's values and rules: who is alive, who should own which shard, who does, and what a call does meanwhile.

Nothing here does IO or reads a clock: a value and ``now`` go in, values to do come out. The shells around it are in the
node, in the gate and in the simulation (``docs/design/cluster.md``).
"""
