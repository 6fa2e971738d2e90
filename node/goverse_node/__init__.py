"""The object host: activations, turns, group commit, stores."""
