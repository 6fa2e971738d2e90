"""The processes of a cluster: a node, a gate, and what they are made of."""
