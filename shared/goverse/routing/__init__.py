"""Routing: from an object's name to the node that serves it, whatever happens to that node meanwhile."""
