"""References: typed proxies for other objects.

A reference turns ``await ref.method(...)`` into a request. Arguments and results always pass through JSON, so a call
to an object on the same node behaves exactly like a call to another node.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from types import MethodType
from typing import Any, cast

from goverse.errors import GoverseError, InvalidArguments
from goverse.model import json_values
from goverse.model.frames import Reply
from goverse.model.keys import ObjectKey, check_id
from goverse.model.near_names import advice
from goverse.model.problems import error_of
from goverse.objects.context import current_turn
from goverse.objects.passing import check_untyped
from goverse.objects.spec import MethodSpec, TypeSpec

Submit = Callable[[ObjectKey, str, bytes], Awaitable[Reply]]


async def _submit_in_turn(key: ObjectKey, method: str, body: bytes) -> Reply:
    turn = current_turn.get()
    if turn is None:
        raise GoverseError(f"{key}.{method} was called outside a turn; await it inside an exported method or a hook")
    return await turn.call_object(key, method, body)


def _expected(
    key: ObjectKey, method: str, make: Callable[[Callable[[], None] | None], Coroutine[Any, Any, Any]]
) -> Coroutine[Any, Any, Any]:
    """Return the coroutine of a call. Inside a turn, the turn fails if it ends before the coroutine is awaited."""
    turn = current_turn.get()
    return make(None) if turn is None else turn.expect(f"{key.type}.{method}", make)


def _invoke(called: tuple[ObjectKey, MethodSpec, Submit], /, *positional: Any, **named: Any) -> Awaitable[Any]:
    key, method, submit = called

    async def call(awaited: Callable[[], None] | None) -> Any:
        if awaited is not None:
            awaited()
        reply = await submit(key, method.name, method.arguments.encode(positional, named))
        if reply.problem is not None:
            raise error_of(reply.problem, method.raises)
        return method.result.decode(reply.body)

    return _expected(key, method.name, call)


def _invoke_by_name(called: tuple[ObjectKey, str, Submit], /, **named: Any) -> Awaitable[Any]:
    key, name, submit = called

    async def call(awaited: Callable[[], None] | None) -> Any:
        if awaited is not None:
            awaited()
        reply = await submit(key, name, encode_by_name(key, name, named))
        if reply.problem is not None:
            raise error_of(reply.problem)
        return json_values.decode(reply.body)

    return _expected(key, name, call)


def encode_by_name(key: ObjectKey, method: str, named: Mapping[str, Any]) -> bytes:
    """Return the arguments of a call to an object whose class is not available.

    Raises:
        InvalidArguments: a value has no JSON form, or would arrive as another value.
    """
    try:
        body = json_values.encode_finite(named)
    except (TypeError, ValueError) as error:
        raise InvalidArguments(f"the arguments of {key.type}.{method} have no JSON form: {error}") from error
    check_untyped(f"the arguments of {key.type}.{method}", named, body)
    return body


def referenced_method(value: object) -> tuple[ObjectKey, str, MethodSpec | None] | None:
    """Return object, name and spec (None by name) of a method of a reference; None if ``value`` is something else."""
    if not isinstance(value, MethodType):
        return None
    if value.__func__ is _invoke:
        key, method, _ = cast("tuple[ObjectKey, MethodSpec, Submit]", value.__self__)
        return key, method.name, method
    if value.__func__ is _invoke_by_name:
        key, name, _ = cast("tuple[ObjectKey, str, Submit]", value.__self__)
        return key, name, None
    return None


_set = object.__setattr__


class Reference:
    """A proxy for one object: its exported methods are attributes; ``id`` and ``key`` name the object."""

    __slots__ = ("_goverse_key", "_goverse_spec", "_goverse_submit")

    _goverse_key: ObjectKey
    _goverse_spec: TypeSpec | None
    _goverse_submit: Submit

    def __init__(self, key: ObjectKey, spec: TypeSpec | None, submit: Submit) -> None:
        """Refer to the object ``key``; without a ``spec``, any method name is sent unchecked."""
        _set(self, "_goverse_key", key)
        _set(self, "_goverse_spec", spec)
        _set(self, "_goverse_submit", submit)

    @property
    def id(self) -> str:
        """The object's id."""
        return self._goverse_key.id

    @property
    def key(self) -> ObjectKey:
        """The object's full name: namespace, type and id."""
        return self._goverse_key

    def __copy__(self) -> Reference:
        """Return the reference itself, because it is immutable."""
        return self

    def __deepcopy__(self, _memo: dict[int, Any]) -> Reference:
        """Return the reference itself, because it is immutable."""
        return self

    def __setattr__(self, name: str, value: object) -> None:
        """Raise an error: only the object itself may change its state.

        Raises:
            AttributeError: always.
        """
        raise AttributeError(
            f"{name!r} cannot be set on a reference to {self._goverse_key}: only the object itself can change its "
            "state; call one of its methods"
        )

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        """Return the exported method ``name`` as an awaitable function.

        Raises:
            AttributeError: the class exports no such method.
        """
        if name.startswith("_"):
            raise AttributeError(name)
        if self._goverse_spec is None:
            return self._untyped(name)
        method = self._goverse_spec.methods.get(name)
        if method is None:
            raise AttributeError(_no_method(self._goverse_key, self._goverse_spec, name))
        return MethodType(_invoke, (self._goverse_key, method, self._goverse_submit))

    def _untyped(self, name: str) -> Callable[..., Awaitable[Any]]:
        return MethodType(_invoke_by_name, (self._goverse_key, name, self._goverse_submit))

    def __repr__(self) -> str:
        """Return a text with the key of the object."""
        return f"<reference to {self._goverse_key}>"

    def __eq__(self, other: object) -> bool:
        """True if both are references to the same object."""
        return isinstance(other, Reference) and other._goverse_key == self._goverse_key

    def __hash__(self) -> int:
        """Return the hash of the object's key."""
        return hash(self._goverse_key)


def _no_method(key: ObjectKey, spec: TypeSpec, name: str) -> str:
    if name in spec.state.fields:
        return (
            f"{name!r} is a field of {key.type}; a reference gives access to methods only. Call a method of {key} that "
            "returns or changes the field"
        )
    exported = ", ".join(sorted(spec.methods)) or "none"
    hint = advice(name, spec.methods, f"it has {exported} (is it marked with @call or @handler?)")
    return f"{key.type} exports no method {name!r}; {hint}"


def reference_to(target: type[Any] | str, namespace: str, object_id: str, submit: Submit = _submit_in_turn) -> Any:
    """Return a reference to an object by class or type name.

    Raises:
        MalformedRequest: ``object_id`` is not a valid id.
    """
    spec = None if isinstance(target, str) else TypeSpec.of(target)
    name = target if isinstance(target, str) else TypeSpec.of(target).name
    return Reference(ObjectKey(namespace, name, check_id(object_id)), spec, submit)
