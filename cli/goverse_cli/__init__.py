"""The ``goverse`` command. It is the only package that combines gate and node in one process."""
