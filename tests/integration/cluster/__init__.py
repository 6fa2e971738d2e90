"""Whole clusters: real nodes and routers; etcd, the store and the network real or their twins."""
