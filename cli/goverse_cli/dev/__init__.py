"""``goverse dev`` with reload: a supervisor process owns the socket and replaces the server process on a change.

See docs/design/dev-process.md.
"""
