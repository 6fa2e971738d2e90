"""The etcd client with real members, which are killed, frozen, cut off, wiped, or require authentication."""
