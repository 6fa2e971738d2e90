"""The kinds of turns: what starts one, and what its end does. A row of this table is how a new kind attaches.

| kind | started by | runs | on success | on failure |
| --- | --- | --- | --- | --- |
| ``CALL`` | a call | the called method | the result is the reply | the error is the reply |
| ``CREATE`` | a create | ``on_create``, if any | the object exists; reply | the error is the reply, at version 0 |
| ``DELETE`` | a delete | ``on_delete``, if any | the object is gone; reply | the error is the reply |
| ``ON_CREATE`` | a call without an object | ``on_create`` | it exists; the call starts | the error is the reply |
| ``ON_ACTIVATE`` | the first call in memory | ``on_activate`` | the call starts | the error is the reply |
| ``ON_DEACTIVATE`` | passivation | ``on_deactivate`` | the object leaves memory | it leaves all the same |

The functions below say what starts; ``Activation.finished`` ends a turn by its row. A change of the state is one commit
record, whatever the kind (``OutputGate.commit``). A reply is kept under the call's idempotency key if it is a result or
a business error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from goverse.model.frames import Reply, Request
from goverse.objects.codec import Arguments
from goverse.objects.creation import creation_of
from goverse.objects.spec import MethodSpec
from goverse_node.runtime.instance import Instance

logger = logging.getLogger("goverse.node.turn")


def _without_parameters(self: object) -> None: ...


_NO_PARAMETERS: Final = Arguments("create", _without_parameters, {})

_HOW_TO_CREATE: Final = {
    "anyone": "create it first with PUT",
    "internal": "only other objects can create it, with self.create (create is 'internal' for this type)",
    "nobody": "objects of this type cannot be created (create is 'nobody' for this type)",
}

# --- end --------------------------------------------------------------------------------------------------------------


class TurnKind(NamedTuple):
    """The effects of the end of a turn.

    Attributes:
        creates: a success creates the object if it does not exist, even if the turn set no field. Readonly turns never
            create it.
        deletes: a success deletes the object.
        reply: makes the reply of a success from the result's JSON and the object; None if a success answers nothing,
            because the call starts after the turn, or there is none.
        shows_version: a failure is answered with the object's version.
    """

    creates: bool = False
    deletes: bool = False
    reply: Callable[[bytes, Instance], Reply] | None = None
    shows_version: bool = True


def _result(body: bytes, instance: Instance) -> Reply:
    return Reply(body, instance.version if instance.exists else 0)


def _created(_body: bytes, instance: Instance) -> Reply:
    return Reply(version=instance.version, created=True)


def _deleted(_body: bytes, instance: Instance) -> Reply:
    return Reply(version=instance.version)


CALL: Final = TurnKind(creates=True, reply=_result)
CREATE: Final = TurnKind(creates=True, reply=_created, shows_version=False)
DELETE: Final = TurnKind(deletes=True, reply=_deleted)
ON_CREATE: Final = TurnKind(creates=True)
ON_ACTIVATE: Final = TurnKind()
ON_DEACTIVATE: Final = TurnKind()

# --- start ------------------------------------------------------------------------------------------------------------


def hook_before_call(instance: Instance) -> tuple[TurnKind, MethodSpec] | None:
    """Return the hook that has to run before a call, or None. The call starts again after it.

    Raises:
        ObjectNotFound: the object does not exist, and a call does not create it.
        StateInvalid: the stored state does not fit the class.
    """
    spec = instance.spec
    if not instance.exists:
        if not spec.policy.creates_on_call:
            raise instance.not_found(_HOW_TO_CREATE[spec.policy.create])
        on_create = spec.hooks.get("on_create")
        if on_create is not None:
            if on_create.arguments.required:
                needed = ", ".join(on_create.arguments.required)
                raise instance.not_found(f"create it first with PUT and {needed}")
            return ON_CREATE, on_create
    if instance.activated:
        return None
    if instance.unfit is not None:
        raise instance.unfit
    return ON_ACTIVATE, spec.hooks["on_activate"]


class CreationStart(NamedTuple):
    """The arguments of ``on_create``, and their digest."""

    arguments: dict[str, Any]
    digest: bytes


def creation_by(instance: Instance, request: Request) -> CreationStart | None:
    """Return the start of a create, or None if the object exists already and the create describes it.

    Raises:
        InvalidArguments: they do not fit ``on_create``.
        ObjectExists: the object exists, and the create is exclusive or has other arguments.
        StateInvalid: the stored state does not fit the class.
        VersionMismatch: the object has another version than the create requires.
    """
    hook = instance.spec.hooks.get("on_create")
    parameters = hook.arguments if hook else _NO_PARAMETERS
    arguments = parameters.decode(request.body)
    digest, names = creation_of(parameters, request.body)
    if instance.exists:
        instance.check_repeated_creation(request, digest, names)
        return None
    if request.if_match != 0:
        instance.check_version(request)
    return CreationStart(arguments, digest)


def hook_of_delete(instance: Instance, request: Request) -> MethodSpec | None:
    """Return ``on_delete``, or None if there is none or the stored state does not fit its class.

    Raises:
        ObjectNotFound: the object does not exist.
        VersionMismatch: the object has another version than the delete requires.
    """
    if not instance.exists:
        raise instance.not_found()
    instance.check_version(request)
    if instance.unfit is not None:
        logger.warning(
            "deleting an object whose state does not fit its class, without on_delete",
            extra={"object": str(instance.key)},
        )
        return None
    return instance.spec.hooks.get("on_delete")
