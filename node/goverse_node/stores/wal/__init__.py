"""The embedded store: a write-ahead log with snapshots in one folder, for one machine. See docs/design/wal.md."""
