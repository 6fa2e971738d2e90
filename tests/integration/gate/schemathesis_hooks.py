"""A schemathesis hook that replaces a body of ``null`` by ``0``, which is invalid for the document too.

``null`` means no arguments, like an empty body. The document says this only in a description: a schema with
``{"type": "null"}`` breaks openapi-generator, and other generators would turn it into an argument.
"""

from __future__ import annotations

from typing import Any

import schemathesis


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]) -> None:
    """Replace a body of ``null``."""
    if case.body is None:
        case.body = 0
