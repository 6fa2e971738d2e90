"""Object host: activations, turns, group commit and stores."""
