"""Ports: the interfaces between the core and the world. Each is a small protocol with an in-memory implementation."""
