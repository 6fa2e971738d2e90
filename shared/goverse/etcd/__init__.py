"""The coordinator on etcd: a small client of its own on ``grpc.aio``, for the operations that a cluster needs.

Nothing outside this package knows that there is etcd: others see ``goverse.ports.coordinator``. Why no client from the
registry does: docs/design/dependencies.md; how this one behaves when members fail: docs/design/etcd.md.
"""
