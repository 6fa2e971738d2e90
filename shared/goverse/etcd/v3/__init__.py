"""The part of etcd's API, version 3, that is used here; written by protoc from ``etcd.proto``."""
