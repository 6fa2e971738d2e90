"""Ownership of shards on a node: claims and releases, and planning while the node is the leader.

The rules (``ownership``, ``leader``, ``planner``) do no IO; ``keeper`` and ``etcd_requests`` carry out their actions.
"""
