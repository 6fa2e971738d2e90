"""The reasons of broken streams are readable."""

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata

from goverse.wire.connection import reason_of


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        ("too many streams", "too many streams"),
        ("Internal error from Core", "the node ended the stream without a reason"),
        ("", "UNAVAILABLE"),
    ],
)
def test_the_reason_of_a_broken_stream_is_readable(details: str, reason: str) -> None:
    error = AioRpcError(grpc.StatusCode.UNAVAILABLE, Metadata(), Metadata(), details=details)

    assert reason_of(error) == reason


def test_an_error_without_text_is_named() -> None:
    assert reason_of(ConnectionResetError()) == "ConnectionResetError"
