"""Showing an object: its state as callers see it.

A type without a view and without hidden fields shows its state as it is stored, at no cost. A view runs on an instance
of its own that is made from the durable bytes, without hooks. It sees the same whether the object is in memory or not,
and what it changes is thrown away; a view that changes the state is refused all the same, because it is a mistake.
"""

from __future__ import annotations

import logging

from goverse.errors import MethodFailed, TooLarge
from goverse.objects.context import current_turn
from goverse.objects.spec import ViewSpec
from goverse_node.instance import Instance

logger = logging.getLogger("goverse.node.view")


def shown(instance: Instance, result_bytes_max: int, request_id: str) -> bytes:
    """Return what callers see of ``instance``, which was made from durable bytes and serves no calls.

    A view that fails is logged with ``request_id``, which the caller has as well.

    Raises:
        MethodFailed: the view raised, changed the state, or returned a value that is not of its declared type.
        TooLarge: what it returned has more than ``result_bytes_max`` bytes.
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
        raise TooLarge(f"what the view {name} returned has {len(body)} bytes; {result_bytes_max} are allowed")
    return body


def _evaluate(view: ViewSpec, instance: Instance, request_id: str) -> bytes:
    name = f"{instance.spec.name}.{view.name}"
    place = {"object": str(instance.object.key), "view": view.name, "request_id": request_id}
    token = current_turn.set(None)
    try:
        body = view.result.encode(view.function(instance.object))
        unchanged = instance.dump() == instance.base
    except BaseException as error:  # also sys.exit(): one object's view does not end the node
        logger.error("view failed", exc_info=error, extra=place)
        # Nothing of the error: a value of the wrong type may be the very thing that the view keeps from callers
        raise MethodFailed(f"the view {name} failed; the log has the cause", view=view.name) from error
    finally:
        current_turn.reset(token)
    if not unchanged:
        changed = MethodFailed(f"the view {name} changed the state; a view only reads it", view=view.name)
        logger.error("view failed", extra={**place, "reason": changed.detail})
        raise changed
    return body
