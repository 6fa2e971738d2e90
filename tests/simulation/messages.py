"""Envelopes of the wire as text, for traces."""

from __future__ import annotations

from goverse.model.effects import Effects, Mark
from goverse.model.receipts import place_of
from goverse.model.records import CommitRecord
from goverse.ports.store import CommitOutcome
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
    if message.HasField("delivery"):
        text = text.replace(": call", ": deliver void" if message.delivery.void else ": deliver", 1)
        text += f" of call {message.delivery.id} from {message.delivery.sender.id}"
    if message.HasField("idempotency_key"):
        text += f" key {_cut(message.idempotency_key.encode())}"
    return f"{text} attempt {message.attempt}" if message.attempt else text


def _reply(message: messages.Reply) -> str:
    marks = [mark for mark, is_set in (("settled", message.settled), ("replayed", message.replayed)) if is_set]
    marked = f" ({', '.join(marks)})" if marks else ""
    if not message.HasField("problem"):
        return f"reply {message.id}: {_cut(message.body)}{marked}"
    problem = message.problem
    executed = messages.Executed.Name(problem.executed).removeprefix("EXECUTED_").lower()
    return f"reply {message.id}: {problem.code}" + (f", executed: {executed}" if problem.executed else "") + marked


def commit_in_words(record: CommitRecord, outcome: CommitOutcome) -> str:
    """Return a commit as text: the record, its effects, and what became of it."""
    what = f"position {outcome}" if isinstance(outcome, int) else "fenced" if outcome.fenced else "refused"
    version = f" version {record.version}" if record.changes_object or record.effects is None else ""
    effects = "" if record.effects is None else _effects(record.effects)
    return f"commit {record.key.id}{version}, shard {record.shard} epoch {record.epoch}{effects}: {what}"


def _effects(effects: Effects) -> str:
    parts = [f"sends {call.id} to {call.receiver.id}" for call in effects.sends]
    if effects.settles is not None:
        delivery = effects.settles.delivery
        parts.append(f"settles {delivery.id} of {delivery.sender.id}{' as void' if delivery.void else ''}")
    parts += [f"removes call {'.'.join(map(str, place_of(number)))}" for number in effects.removes]
    parts += [f"marks call {'.'.join(map(str, place_of(mark.number)))} {_mark(mark)}" for mark in effects.marks]
    parts += [f"keeps {end.call.id} as {end.state}" for end in effects.finished]
    return "".join(f", {part}" for part in parts)


def _mark(mark: Mark) -> str:
    return f"as {mark.void}" if mark.void else f"with attempts={mark.attempts}"


def _cut(data: bytes) -> str:
    text = data.decode()
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}…"
