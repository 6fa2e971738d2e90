"""The seams: what the core needs of the world, each a small protocol with a real implementation for tests beside it."""
