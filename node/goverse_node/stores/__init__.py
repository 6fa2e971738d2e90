"""The stores, which make commit records durable. Each implements the port ``goverse.ports.store``."""
