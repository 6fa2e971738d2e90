"""A node's side of ownership, without IO: which shards it claims and gives away, and what it does while it leads."""
