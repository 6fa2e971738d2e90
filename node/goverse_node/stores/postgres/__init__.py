"""The store of a cluster: objects, replies and the authority over shards, in PostgreSQL."""
