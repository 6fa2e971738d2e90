"""The object host: activations, turns, commits, and the stores that make them durable."""
