"""The embedded store for one machine: a write-ahead log with snapshots in one directory. See docs/design/wal.md."""
