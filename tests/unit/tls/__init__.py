"""Certificates as files, without a handshake."""
