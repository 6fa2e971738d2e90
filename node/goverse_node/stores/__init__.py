"""The stores: where commit records become durable. Each keeps the rules of ``goverse.ports.store``."""
