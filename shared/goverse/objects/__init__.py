"""The object model: what a user's class declares, compiled once into what a node and a gate need of it."""
