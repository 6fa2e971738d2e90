"""A call ends at its timeout, even if a response arrives slowly."""

import socket
import threading
from itertools import count

import pytest

from goverse_client import CallTimeout, GoVerse, GoVerseSync, Options
from goverse_client.streams import bound, within
from tests.sdk.peer import Answering, peer

pytestmark = pytest.mark.requirement("GATE-2")

PIECES = 600  # of 0.05 s: a call that is held by them is not ended by its 1.1 s


def _in_pieces(first: bytes, each: bytes) -> Answering:
    def answer(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(first)
        for number in range(PIECES):
            if over.wait(0.05):
                return
            connection.sendall(each.replace(b"NUMBER", b"%d" % number))

    return answer


SLOW = {
    "headers": _in_pieces(b"HTTP/1.1 200 OK\r\n", b"x-NUMBER: 1\r\n"),
    "interim answers": _in_pieces(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "body": _in_pieces(b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n", b" "),
    "size of a chunk": _in_pieces(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;", b"x"),
    "headers of the next answer": _in_pieces(
        b"HTTP/1.1 503 Later\r\nretry-after: 0\r\ncontent-length: 0\r\n", b"x: 1\r\n"
    ),
}


@pytest.mark.parametrize("slow", SLOW)
def test_a_slow_response_does_not_block_a_synchronous_call(slow: str) -> None:
    with peer(SLOW[slow]) as server:
        with GoVerseSync(server.url, options=Options(timeout_s=0.1)) as gv, pytest.raises(CallTimeout):
            gv.object("A", "a").call("x")
        assert server.broken_off.wait(10), "the peer came to its end"


@pytest.mark.parametrize("slow", SLOW)
async def test_a_slow_response_does_not_block_an_asynchronous_call(slow: str) -> None:
    with peer(SLOW[slow]) as server:
        async with GoVerse(server.url, options=Options(timeout_s=0.1)) as gv:
            with pytest.raises(CallTimeout):
                await gv.object("A", "a").call("x")
        assert server.broken_off.wait(10), "the peer came to its end"


def test_a_reused_connection_has_the_timeout_of_each_call() -> None:
    numbers = count(1)

    def answer(connection: socket.socket, over: threading.Event) -> None:
        if next(numbers) == 2:
            over.wait(1.2)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1\r\n\r\n1")

    with peer(answer) as server, GoVerseSync(server.url) as gv:
        short, long = (gv.object("A", "a").with_options(timeout_s=seconds) for seconds in (1.0, 30))
        assert [handle.call("x") for handle in (short, long, short)] == [1, 1, 1]


class Stream:
    """A stream that records the timeouts of its reads and writes."""

    def __init__(self) -> None:
        self.timeouts: list[float | None] = []
        self.written: list[bytes] = []

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self.timeouts.append(timeout)
        return b"x" * max_bytes

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.timeouts.append(timeout)
        self.written.append(buffer)


def test_each_read_and_write_gets_the_remaining_time() -> None:
    stream = Stream()
    bound(stream)
    data = bytes(range(256)) * 4096
    with within(5):
        assert stream.read(3, 60) == b"xxx"
        stream.write(data, 60)
        assert stream.read(1) == b"x"
        assert stream.read(1, 0.25) == b"x"
    *shrinking, given = stream.timeouts
    assert shrinking == sorted(shrinking, key=lambda timeout: -(timeout or 0))
    assert all(timeout is not None and 0 < timeout <= 5 for timeout in shrinking)
    assert given == 0.25
    assert b"".join(stream.written) == data
    assert len(stream.written) > 1


def test_nothing_is_read_or_written_after_the_deadline() -> None:
    stream = Stream()
    bound(stream)
    with within(0):
        for over in (lambda: stream.read(1), lambda: stream.write(b"x")):
            with pytest.raises(TimeoutError):
                over()
    assert stream.timeouts == []
