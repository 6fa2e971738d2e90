"""The processes of a cluster: a node, a gate, and the parts that they share."""
