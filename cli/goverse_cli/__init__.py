"""The ``goverse`` command: the only place that puts gate and node together in one process."""
