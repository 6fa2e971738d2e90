"""``goverse dev`` with reload: a supervisor that owns the socket, and a server process that it replaces. See
docs/design/dev-process.md.
"""
