"""The store of a cluster: objects, kept replies and the authority over shards, in PostgreSQL."""
