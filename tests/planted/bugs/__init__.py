"""The bugs, one module per area, each with a tuple ``PLANTED``."""
