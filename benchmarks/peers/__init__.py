"""Other systems for comparison, each in its fastest configuration and in an environment of its own."""
