"""Routing: requests reach the node that owns their object, even while shards move and nodes fail."""
