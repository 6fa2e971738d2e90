"""Certificate files, tested without a handshake."""
