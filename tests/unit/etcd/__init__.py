"""The client of etcd, its rules alone: no server and no network."""
