"""The in-memory implementations of the ports."""
