"""The upper bound for Python on uvicorn: a raw ASGI application that reads the body and responds with a number."""

from typing import Any


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Respond with ``1``."""
    if scope["type"] != "http":
        return
    await receive()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"1")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"1"})
