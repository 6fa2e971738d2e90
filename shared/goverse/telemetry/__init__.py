"""Logs, and metrics of the process, its streams, its certificates and its requests to etcd."""
