"""The part of etcd's API, version 3, that GoVerse uses; generated from ``etcd.proto`` by protoc."""
