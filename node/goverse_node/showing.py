"""Visible form of an object: the response body of a READ.

A type without a view and without hidden fields shows its state as stored, at no cost. A view runs on a separate
instance, built from the durable bytes without hooks, so its result does not depend on whether the object is in memory.
Its changes are discarded; a view that changes the state fails nevertheless, because that is a programming error.
"""

from __future__ import annotations

import logging

from goverse.errors import MethodFailed, TooLarge
from goverse.objects.context import current_turn
from goverse.objects.spec import ViewSpec
from goverse_node.runtime.instance import Instance

logger = logging.getLogger("goverse.node.view")


def shown(instance: Instance, result_bytes_max: int, request_id: str) -> bytes:
    """Return the visible form of ``instance``, which was built from durable bytes and serves no calls.

    A failure of the view is logged with ``request_id``, which the caller also receives.

    Raises:
        MethodFailed: the view raised, changed the state, or returned a value that is not of its declared type.
        TooLarge: its result has more than ``result_bytes_max`` bytes.
    """
    base = instance.base or b""
    if instance.shows_base:
        return base
    view = instance.spec.view
    if view is None:
        return instance.spec.state.shown(base)
    body = _evaluate(view, instance, request_id)
    if len(body) > result_bytes_max:
        name = f"{instance.spec.name}.{view.name}"
        raise TooLarge(f"the result of the view {name} has {len(body)} bytes; {result_bytes_max} are allowed")
    return body


def _evaluate(view: ViewSpec, instance: Instance, request_id: str) -> bytes:
    name = f"{instance.spec.name}.{view.name}"
    place = {"object": str(instance.object.key), "view": view.name, "request_id": request_id}
    token = current_turn.set(None)
    try:
        body = view.result.encode(view.function(instance.object))
        unchanged = instance.dump() == instance.base
    except BaseException as error:  # including SystemExit: the view of one object must not end the node
        logger.error("view failed", exc_info=error, extra=place)
        # The error text is not sent: it may contain a value that the view hides from callers
        raise MethodFailed(f"the view {name} failed; the node's log has the cause", view=view.name) from error
    finally:
        current_turn.reset(token)
    if not unchanged:
        changed = MethodFailed(f"the view {name} changed the state; a view must only read it", view=view.name)
        logger.error("view failed", extra={**place, "reason": changed.detail})
        raise changed
    return body
