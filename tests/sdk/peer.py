"""An HTTP server whose responses a test controls byte by byte."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

Answering = Callable[[socket.socket, threading.Event], None]


class Peer:
    """A server that reads requests and calls ``answer`` with the connection and an event for the end of the test.

    Attributes:
        url: the URL of the server.
        requests: the request heads that were read.
        broken_off: set once a client closed its connection during a response.
    """

    def __init__(self, answer: Answering) -> None:
        self.requests: list[bytes] = []
        self.broken_off = threading.Event()
        self._answer = answer
        self._over = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        """Stop, and close all connections."""
        self._over.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(10)
        with connection, contextlib.suppress(TimeoutError):
            while head := _head(connection):
                self.requests.append(head)
                try:
                    self._answer(connection, self._over)
                except OSError:
                    self.broken_off.set()
                    return


@contextlib.contextmanager
def peer(answer: Answering) -> Iterator[Peer]:
    """Run a peer."""
    running = Peer(answer)
    try:
        yield running
    finally:
        running.close()


def _head(connection: socket.socket) -> bytes:
    """Read one request and return its head; empty at the end of the connection."""
    data = b""
    try:
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                return b""
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                while len(body) < int(line.partition(b":")[2]):
                    body += connection.recv(65536)
    except OSError:
        return b""
    return head
