"""The PostgreSQL store against a real server with injected faults."""
