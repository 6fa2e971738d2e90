"""Envelopes of the wire as text, for traces."""

from __future__ import annotations

from goverse.wire import codec
from goverse.wire.v1 import wire_pb2 as messages

_SHOWN_MAX = 60


def describe(data: bytes) -> str:
    """Return the frames of an envelope, separated by semicolons."""
    envelope = codec.parse(data)
    parts: list[str] = []
    if envelope.HasField("hello"):
        parts.append(f"hello from {envelope.hello.kind} {envelope.hello.id} ({envelope.hello.incarnation})")
    parts += map(_request, envelope.requests)
    parts += map(_reply, envelope.replies)
    parts += (f"cancel {number}" for number in envelope.cancels)
    if envelope.HasField("readiness"):
        reasons = ", ".join(envelope.readiness.reasons)
        parts.append("ready" if envelope.readiness.ready else f"not ready: {reasons}")
    if envelope.HasField("goaway"):
        parts.append(f"go away: {envelope.goaway.reason}")
    parts += [f"ping {envelope.ping}"] if envelope.ping else []
    parts += [f"pong {envelope.pong}"] if envelope.pong else []
    return "; ".join(parts) or "nothing"


def _request(message: messages.Request) -> str:
    name = f"{message.type}/{message.object_id}"
    operation = messages.Operation.Name(message.operation).removeprefix("OPERATION_").lower()
    text = f"request {message.id}: {operation} {name}"
    if message.method:
        text += f".{message.method} {_cut(message.body)}"
    if message.HasField("idempotency_key"):
        text += f" key {_cut(message.idempotency_key.encode())}"
    return f"{text} attempt {message.attempt}" if message.attempt else text


def _reply(message: messages.Reply) -> str:
    if not message.HasField("problem"):
        return f"reply {message.id}: {_cut(message.body)}" + (" (replayed)" if message.replayed else "")
    problem = message.problem
    executed = messages.Executed.Name(problem.executed).removeprefix("EXECUTED_").lower()
    return f"reply {message.id}: {problem.code}" + (f", executed: {executed}" if problem.executed else "")


def _cut(data: bytes) -> str:
    text = data.decode()
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}…"
