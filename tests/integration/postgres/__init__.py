"""The store in PostgreSQL against a real server that misbehaves."""
