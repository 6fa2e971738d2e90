"""The client of etcd against real members that are killed, frozen, cut off, wiped and locked."""
