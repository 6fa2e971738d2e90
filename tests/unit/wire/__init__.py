"""The rules of the wire protocol, tested without a socket."""
