"""Messages about a server show its URL without user and password."""

import pytest

from goverse_cli.failure import Failure
from goverse_cli.server_client import ServerClient

SECRET = "s3cret"


@pytest.mark.parametrize("url", [f"ftp://ann:{SECRET}@gate", f"http://ann:{SECRET}@", f"http://ann:{SECRET}@gate:port"])
def test_the_error_for_an_invalid_url_does_not_show_its_password(url: str) -> None:
    with pytest.raises(Failure, match="is not a valid URL") as failed:
        ServerClient(url, timeout_s=1.0)

    assert SECRET not in f"{failed.value} {failed.value.hint}"


def test_the_error_for_an_unreachable_server_does_not_show_its_password() -> None:
    server = ServerClient(f"http://ann:{SECRET}@127.0.0.1:1", timeout_s=1.0)

    with pytest.raises(Failure, match=r"no server answers at http://127\.0\.0\.1:1") as failed:
        server.request("GET", "/readyz")

    assert SECRET not in f"{failed.value} {failed.value.hint}"
    assert server.shown == "http://127.0.0.1:1"
