"""The rules of the etcd client, tested without a server or network."""
