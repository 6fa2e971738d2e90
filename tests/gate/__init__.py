"""Fixtures for tests of the gate: object types, an in-process link that serves them, and a real server."""
