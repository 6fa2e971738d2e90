"""The wire protocol: one stream of batched frames between two processes (``docs/design/wire.md``)."""
