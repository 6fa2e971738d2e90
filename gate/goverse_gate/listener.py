"""The listening socket. It is opened first, so that a wrong address fails before anything else starts."""

from __future__ import annotations

import socket

from goverse.errors import ConfigError
from goverse.limits import LISTEN_BACKLOG


def open_listener(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        ConfigError: the address is in use, or does not belong to this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(LISTEN_BACKLOG)
    except OSError as error:
        listener.close()
        reason = error.strerror or str(error)
        raise ConfigError(f"cannot listen on {host} port {port}: {reason}", setting="gate.port") from error
    listener.setblocking(False)
    return listener
