"""Schemathesis hooks for what the document says only in descriptions.

* A body of ``null`` is replaced by ``0``, which is invalid for the document too. ``null`` means no arguments, like an
  empty body. A schema with ``{"type": "null"}`` breaks openapi-generator, and other generators would turn it into an
  argument.
* A valid ``GoVerse-Delay`` gets the ``Prefer: respond-async`` that it needs, and a call with that preference has no
  ``If-Match``.
"""

from __future__ import annotations

from typing import Any

import schemathesis


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]) -> None:
    """Replace a body of ``null``, and make the headers fit each other."""
    if case.body is None:
        case.body = 0
    headers, meta = case.headers, case.meta
    if meta is None or not meta.generation.mode.is_positive:
        return
    if "GoVerse-Delay" in headers:
        headers["Prefer"] = "respond-async"
    if "respond-async" in headers.get("Prefer", ""):
        headers.pop("If-Match", None)
