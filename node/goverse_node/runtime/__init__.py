"""One object in memory: its activation, the turns that run on it, its state, and the commits of its changes."""
