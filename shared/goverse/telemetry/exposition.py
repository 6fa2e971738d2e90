"""The formats of ``/metrics``: the text format of Prometheus, or OpenMetrics for clients that accept it.

Only OpenMetrics has exemplars: the trace of one request in a bucket of a histogram. Prometheus asks for it by itself,
and stores exemplars with ``--enable-feature=exemplar-storage``.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import CollectorRegistry
from prometheus_client.samples import Exemplar

from goverse.model.trace_context import checked, is_sampled, trace_id

_ACCEPTED: Final = re.compile(
    r"(?:application/openmetrics-text|text/plain)"
    r"(?:\s*;\s*(?:version=[01]\.\d\.\d|charset=utf-8|escaping=[a-z0-9-]{1,20}|q=(?:1(?:\.0*)?|0?\.\d*[1-9]\d*)))*"
)


class Exposed(NamedTuple):
    """The body of a response with metrics, and its Content-Type."""

    body: bytes
    content_type: str


def expose(registry: CollectorRegistry, accept: str) -> Exposed:
    """Return all metrics in the format that the header ``Accept`` asks for.

    The plain text format 0.0.4 is the default. Parts of the header that do not name a known format are ignored.
    """
    known = [part for part in map(str.strip, accept.split(",")) if _ACCEPTED.fullmatch(part)]
    encode, content_type = choose_encoder(",".join(known))
    return Exposed(encode(registry), content_type)


def sampled_trace_id(traceparent: str) -> str | None:
    """Return the trace id of a W3C ``traceparent``, or None if it is invalid or its trace is not recorded."""
    valid = checked(traceparent, "").traceparent
    return trace_id(valid) if is_sampled(valid) else None


def exemplar(trace_id: str, value: float, at_s: float) -> Exemplar:
    """Return the exemplar of one observation; ``at_s`` is its wall time."""
    return Exemplar({"trace_id": trace_id}, value, round(at_s, 3))
