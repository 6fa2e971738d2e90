"""The commands of ``goverse``: one module per command, or per family of commands that share options."""
