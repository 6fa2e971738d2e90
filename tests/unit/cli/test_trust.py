"""Tests that a failed TLS handshake, which rules out an effect, is distinguished from a connection that ended."""

import ssl

import pytest

from goverse_cli.trust import distrust


def _failed(cause: Exception) -> Exception:
    error = OSError("the request failed")
    error.__cause__ = cause
    return error


def test_a_refused_certificate_is_a_failed_handshake() -> None:
    refused = ssl.SSLCertVerificationError(1, "certificate verify failed")

    assert distrust(_failed(refused)) == str(refused)


@pytest.mark.parametrize(
    "cause",
    [ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), ConnectionResetError("reset by peer")],
    ids=["an end without an alert", "a reset"],
)
def test_a_connection_that_ended_is_not(cause: Exception) -> None:
    assert distrust(_failed(cause)) is None


def test_an_end_that_openssl_reports_as_a_reason_is_not() -> None:
    ended = ssl.SSLError(1, "unexpected eof while reading")
    ended.reason = "UNEXPECTED_EOF_WHILE_READING"

    assert distrust(_failed(ended)) is None
