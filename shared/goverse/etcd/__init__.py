"""The etcd coordinator: a small client on ``grpc.aio`` for the operations that a cluster needs.

Only this package knows etcd; other code uses ``goverse.ports.coordinator``. docs/design/dependencies.md explains why no
published client is used, docs/design/etcd.md how this client behaves when etcd members fail.
"""
