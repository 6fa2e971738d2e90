"""Whole clusters: real nodes and routers, with real or in-memory etcd, store and network."""
