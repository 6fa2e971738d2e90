"""The wire: one stream of batched frames between two processes; `docs/design/wire.md` says how and why."""
