"""``TypeSpec``: an object type, compiled once from its class into validators and call options."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import FunctionType, ModuleType
from typing import Any, ClassVar, Final, cast, get_origin, get_type_hints
from weakref import WeakKeyDictionary

from pydantic.fields import FieldInfo

from goverse.errors import DataNewer, DefinitionError, MethodFailed
from goverse.model.keys import is_name
from goverse.objects.codec import Arguments
from goverse.objects.declaration import HOOKS, check_members, check_migration, check_signature, not_on
from goverse.objects.defaults import default_maker, has_default
from goverse.objects.field import hidden_fields
from goverse.objects.generics import Parameters, parameters_of, resolved
from goverse.objects.method import (
    MIGRATION_ATTRIBUTE,
    OPTIONS_ATTRIBUTE,
    RAISES_ATTRIBUTE,
    VIEW_ATTRIBUTE,
    CallOptions,
)
from goverse.objects.outcome import takes_outcome
from goverse.objects.policy import Policy
from goverse.objects.results import Result
from goverse.objects.state import State

RESERVED: Final = frozenset(
    {"id", "key", "context", "ref", "create", "delete", "list", "goverse_policy", *HOOKS}
    | {"send", "sending", "cancel", "outbox"}
)

_NOT_DEFAULTS: Final = (FunctionType, property, classmethod, staticmethod)
# Attributes in which decorators keep the wrapped function
_WRAPPED: Final = ("__wrapped__", "__func__", "fget", "func")
_WRAPPERS_MAX: Final = 8
_DESCRIPTORS: Final = ("__get__", "__set__", "__set_name__")
_CONTAINERS: Final = (list, dict, set, bytearray, deque)

Migration = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True, slots=True, eq=False)
class MethodSpec:
    """One exported method, or a hook.

    Attributes:
        name: the name in calls.
        function: the plain function; its first parameter is the object.
        is_async: True if the function returns a coroutine.
        readonly: True if the method must not change the state.
        reentrant: True if its call chain may call back into the object while the method waits.
        timeout_s: timeout of one call, or None for the configured default.
        raises: the exceptions that the method documents.
        arguments: the codec of the arguments.
        result: the codec of the result.
        summary, description: taken from the docstring; empty without one.
        handler: True if only other objects and GoVerse itself may call the method.
        takes_outcome: True if the method can receive the outcome of a reliable call.
    """

    name: str
    function: Callable[..., Any]
    is_async: bool
    readonly: bool
    reentrant: bool
    timeout_s: float | None
    raises: tuple[type[Exception], ...]
    arguments: Arguments
    result: Result
    summary: str = ""
    description: str = ""
    handler: bool = False
    takes_outcome: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ViewSpec:
    """The view of a type: the function whose result callers see instead of the state.

    Attributes:
        name: the name of the function, for messages.
        function: takes the object and returns the value to show.
        result: the codec of that value.
    """

    name: str
    function: Callable[[Any], Any]
    result: Result


@dataclass(frozen=True, slots=True, eq=False)
class TypeSpec:
    """One object type.

    Attributes:
        cls: the user's class.
        policy: the class options.
        state: the codec of the persistent fields.
        transient: for each transient attribute with a default, a function that makes its value.
        methods: the exported methods by name.
        hooks: the hooks that the class defines, by name.
        migrations: for each older state version, the migration to the next version.
        description: the class's docstring.
        view: the view, or None if callers see the state.
    """

    cls: type[Any]
    policy: Policy
    state: State
    transient: Mapping[str, Callable[[], Any]]
    methods: Mapping[str, MethodSpec]
    hooks: Mapping[str, MethodSpec]
    migrations: Mapping[int, Migration] = field(default_factory=dict[int, Migration])
    description: str = ""
    view: ViewSpec | None = None

    _compiled: ClassVar[WeakKeyDictionary[type[Any], TypeSpec]] = WeakKeyDictionary()

    @property
    def name(self) -> str:
        """The type's name in URLs and in the store."""
        return self.policy.name

    @classmethod
    def of(cls, user_class: type[Any]) -> TypeSpec:
        """Return the spec of a class; it is compiled on first use.

        Raises:
            DefinitionError: the class breaks a rule of the object model.
        """
        try:
            spec = cls._compiled.get(user_class)
        except TypeError:  # a value without weak references, such as a string or a list
            spec = None
        if spec is None:
            spec = cls._compiled[user_class] = compile_class(user_class)
        return spec

    def shows(self, name: str) -> bool:
        """True if ``GET`` shows a member of this name. A type without view and hidden fields shows every name."""
        if self.view is not None:
            return name in self.view.result.members
        return not self.state.hidden or name in self.state.shown_names

    def migrate(self, values: dict[str, Any], state_version: int) -> dict[str, Any]:
        """Return JSON values of an older state version, migrated to the current version.

        Raises:
            DataNewer: a newer version of the class wrote the values.
            MethodFailed: a migration is missing or raised an exception.
        """
        current = self.policy.state_version
        if state_version > current:
            raise DataNewer(
                f"the state of this {self.name} has version {state_version}; this class reads versions up to {current}"
            )
        for version in range(state_version, current):
            step = self.migrations.get(version)
            if step is None:
                raise MethodFailed(f"{self.name} has no migration from state version {version} to {version + 1}")
            try:
                values = step(values)
            except BaseException as error:  # including SystemExit: the migration of one object must not end the node
                raise MethodFailed(f"the migration of {self.name} from state version {version} failed") from error
        return values


def compile_class(user_class: type[Any]) -> TypeSpec:
    """Return the spec of a class.

    Raises:
        DefinitionError: the class breaks a rule of the object model.
    """
    name = getattr(user_class, "__name__", repr(user_class))
    policy = getattr(user_class, "goverse_policy", None)
    if not isinstance(cast("object", user_class), type) or not isinstance(policy, Policy) or policy.abstract:
        raise DefinitionError(f"{name} is not an object type; derive it from goverse.Object, without abstract=True")
    persistent, transient = _fields(user_class)
    check_members(user_class, [base for base, _ in _own_bases(user_class)], RESERVED)
    defaults = {field: getattr(user_class, field) for field in persistent if hasattr(user_class, field)}
    view = _view(user_class)
    hidden = hidden_fields(user_class, persistent)
    return TypeSpec(
        cls=user_class,
        policy=policy,
        state=State(name, persistent, defaults, hidden, has_view=view is not None),
        transient=transient,
        methods=_methods(user_class, policy),
        hooks=_hooks(user_class, policy),
        migrations=_migrations(user_class, policy),
        description=inspect.cleandoc(user_class.__doc__ or ""),
        view=view,
    )


def _methods(user_class: type[Any], policy: Policy) -> dict[str, MethodSpec]:
    """Return the exported methods by name; an override without ``@call`` inherits the options of the base's method."""
    methods: dict[str, MethodSpec] = {}
    parameters = parameters_of(user_class)
    for attribute in dir(user_class):
        owner = f"{user_class.__name__}.{attribute}"
        value = inspect.getattr_static(user_class, attribute)
        options = _options(user_class, attribute)
        if options is None:
            continue
        if not inspect.isfunction(value):
            raise DefinitionError(not_on(owner, "@handler" if options.handler else "@call", value))
        if attribute in HOOKS:
            raise DefinitionError(
                f"{owner} cannot be exported: it is a hook, and only GoVerse calls hooks; remove the decorator"
            )
        if not is_name(attribute) or attribute in RESERVED:
            raise DefinitionError(f"{owner} cannot be exported: the name is reserved or begins with '_'")
        methods[attribute] = _method(owner, value, options, policy, parameters[_owner(user_class, attribute)])
    return methods


def _options(user_class: type[Any], attribute: str) -> CallOptions | None:
    """Return the options of an exported method: its own or those of the nearest base that exports it, or None."""
    for base in user_class.__mro__:
        value: Any = vars(base).get(attribute)
        for _ in range(_WRAPPERS_MAX):
            options = getattr(value, "__dict__", {}).get(OPTIONS_ATTRIBUTE)
            if isinstance(options, CallOptions):
                return options
            value = next((getattr(value, name) for name in _WRAPPED if hasattr(value, name)), None)
    return None


def _owner(user_class: type[Any], attribute: str) -> type[Any]:
    """Return the class that defines an attribute."""
    return next(base for base in user_class.__mro__ if attribute in vars(base))


def _hooks(user_class: type[Any], policy: Policy) -> dict[str, MethodSpec]:
    """Return the hooks that the class defines, by name."""
    name = user_class.__name__
    parameters = parameters_of(user_class)
    hooks = {
        hook: _method(
            f"{name}.{hook}",
            getattr(user_class, hook),
            CallOptions(reentrant=False),
            policy,
            parameters[_owner(user_class, hook)],
        )
        for hook in HOOKS
        if inspect.isfunction(getattr(user_class, hook, None))
    }
    for hook, spec in hooks.items():
        if hook != "on_create" and spec.arguments.names:
            raise DefinitionError(f"{name}.{hook} takes no parameters besides self")
    return hooks


def _view(user_class: type[Any]) -> ViewSpec | None:
    """Return the view of the class, if it declares one.

    Raises:
        DefinitionError: the class has two views, the view is not a plain function of ``self`` with a return
            annotation, or a subclass overrides it without ``@view``.
    """
    attribute = _view_name(user_class)
    if attribute is None:
        return None
    function = dict(_functions(user_class))[attribute]
    owner = f"{user_class.__name__}.{attribute}"
    if hasattr(function, OPTIONS_ATTRIBUTE):
        raise DefinitionError(f"{owner} is a view; a view cannot be called, so remove @call or @handler")
    if attribute in RESERVED:
        raise DefinitionError(f"{owner}: the name is taken by the object model; choose another")
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise DefinitionError(f"{owner} is a view; make it a plain def, because a view cannot await")
    hints = _hints(owner, function)
    if len(inspect.signature(function).parameters) != 1:
        raise DefinitionError(f"{owner} is a view; it takes no parameters besides self")
    if "return" not in hints:
        raise DefinitionError(f"{owner} is a view; annotate what it returns, for example -> OrderView")
    shown = resolved(owner, hints["return"], parameters_of(user_class)[_owner(user_class, attribute)])
    return ViewSpec(attribute, function, Result(owner, shown, is_read_back=False))


def _view_name(user_class: type[Any]) -> str | None:
    """Return the name of the function marked with ``@view`` in the class or a base, or None."""
    name = user_class.__name__
    declared = {
        attribute: base
        for base in user_class.__mro__
        for attribute, value in vars(base).items()
        if hasattr(getattr(value, "__func__", getattr(value, "fget", value)), VIEW_ATTRIBUTE)
    }
    for attribute, base in declared.items():
        found = inspect.getattr_static(user_class, attribute)
        if found is vars(base)[attribute] and not inspect.isfunction(found):
            raise DefinitionError(f"{name}.{attribute}: put @view on a plain method, without other decorators")
        if not hasattr(found, VIEW_ATTRIBUTE):
            raise DefinitionError(
                f"{name}.{attribute} overrides the view of {base.__name__} without @view, so GET would show the whole "
                "state; mark it with @view"
            )
    if len(declared) > 1:
        raise DefinitionError(f"{name} has the views {', '.join(sorted(declared))}; a class has at most one")
    return next(iter(declared), None)


def _migrations(user_class: type[Any], policy: Policy) -> dict[int, Migration]:
    """Return the migrations by the state version from which they start.

    Raises:
        DefinitionError: an older version has no migration or two, or a migration never runs.
    """
    migrations: dict[int, Migration] = {}
    for attribute, function in _functions(user_class):
        origin = getattr(function, MIGRATION_ATTRIBUTE, None)
        if not isinstance(origin, int):
            continue
        owner = f"{user_class.__name__}.{attribute}"
        check_migration(owner, function)
        if migrations.setdefault(origin, function) is not function:
            raise DefinitionError(f"{owner} is a second migration from version {origin}; keep one")
        if origin >= policy.state_version and attribute in vars(user_class):
            raise DefinitionError(
                f"{owner} is a migration from version {origin}, which never runs: state_version is "
                f"{policy.state_version}; declare class {user_class.__name__}(Object, state_version={origin + 1})"
            )
    missing = [version for version in range(1, policy.state_version) if version not in migrations]
    if missing:
        raise DefinitionError(
            f"{user_class.__name__} has state_version {policy.state_version} but no migration from version "
            f"{missing[0]}; add one (it may return the state as it is), or an object of that version cannot be loaded"
        )
    return migrations


def _functions(user_class: type[Any]) -> list[tuple[str, Callable[..., Any]]]:
    """Return the functions among the attributes of a class, including those of static methods."""
    found: list[tuple[str, Callable[..., Any]]] = []
    for attribute in dir(user_class):
        value = inspect.getattr_static(user_class, attribute)
        function = value.__func__ if isinstance(value, staticmethod) else value
        if inspect.isfunction(function):
            found.append((attribute, function))
    return found


def _hints(owner: str, subject: Any) -> dict[str, Any]:
    try:
        return get_type_hints(subject, include_extras=True)
    except (NameError, TypeError) as error:
        raise DefinitionError(f"{owner}: an annotation cannot be resolved: {error}") from error


def _fields(user_class: type[Any]) -> tuple[dict[str, Any], dict[str, Callable[[], Any]]]:
    """Return the types of the persistent fields, and functions that make the defaults of transient attributes."""
    persistent: dict[str, Any] = {}
    transient: dict[str, Callable[[], Any]] = {}
    annotated: set[str] = set()
    for base, parameters in _own_bases(user_class):
        own = inspect.get_annotations(base)
        hints = _hints(user_class.__name__, base) if own else {}
        for name in own:
            hint = hints[name]
            annotated.add(name)
            persistent.pop(name, None)
            transient.pop(name, None)
            if hint is ClassVar or get_origin(hint) is ClassVar:
                continue
            _check_field_name(user_class, name)
            if not name.startswith("_"):
                persistent[name] = resolved(f"{user_class.__name__}.{name}", hint, parameters)
            elif hasattr(user_class, name):
                transient[name] = _transient_maker(user_class, name)
    for base, _ in _own_bases(user_class):
        for name, value in vars(base).items():
            if name not in annotated:
                _check_unannotated(f"{user_class.__name__}.{name}", name, value)
    return persistent, transient


def _own_bases(user_class: type[Any]) -> list[tuple[type[Any], Parameters]]:
    """Return ``user_class`` and its bases that belong to the application, most basic class first."""
    parameters = parameters_of(user_class)
    foreign = {"builtins", "typing", "typing_extensions", "abc", "goverse.objects.object"}
    return [(base, parameters[base]) for base in reversed(user_class.__mro__) if base.__module__ not in foreign]


def _check_field_name(user_class: type[Any], name: str) -> None:
    owner = f"{user_class.__name__}.{name}"
    if name in RESERVED or name.startswith("_goverse"):
        raise DefinitionError(f"{owner}: the name is taken by the object model; choose another")
    value = inspect.getattr_static(user_class, name, None)
    if not name.startswith("_") and isinstance(value, _NOT_DEFAULTS):
        raise DefinitionError(f"{owner} is a field and a method; choose another name")


def _transient_maker(user_class: type[Any], name: str) -> Callable[[], Any]:
    default = getattr(user_class, name)
    make = default_maker(default)
    if not (isinstance(default, FieldInfo) and has_default(default)):
        try:
            make()
        except MethodFailed as error:
            raise DefinitionError(
                f"{user_class.__name__}.{name}: the default cannot be copied for each object: {error.__cause__}; "
                "set it in on_activate, or use Field(default_factory=...)"
            ) from error
    return make


def _is_descriptor(value: object) -> bool:
    return any(hasattr(type(value), hook) for hook in _DESCRIPTORS)


def _check_unannotated(owner: str, name: str, value: object) -> None:
    """Check a class attribute without an annotation.

    Raises:
        DefinitionError: it looks like a field, but all objects would share it and it would not be stored. Methods,
            nested classes and descriptors pass, and so do names in capital letters, which are constants.
    """
    kind: type[object] = type(value)
    if (name.startswith("__") and name.endswith("__")) or name.isupper() or name == "goverse_policy":
        return
    if issubclass(kind, cached_property) and not name.startswith("_"):
        raise DefinitionError(f"{owner}: cached_property caches a value that is not stored; use property")
    if callable(value) or issubclass(kind, ModuleType) or _is_descriptor(value):
        return
    if not name.startswith("_"):
        raise DefinitionError(
            f"{owner} has no annotation, so it is not stored and is the same for all objects; annotate a field (for "
            f"example {name}: {kind.__name__}), or declare what all objects share as ClassVar or in capital letters"
        )
    if isinstance(value, _CONTAINERS):
        raise DefinitionError(
            f"{owner} has no annotation, so all objects would share it; annotate it (for example "
            f"{name}: {kind.__name__}), or declare it as ClassVar if they are to share it"
        )


def _method(
    owner: str, function: Callable[..., Any], options: CallOptions, policy: Policy, parameters: Parameters
) -> MethodSpec:
    hints = {name: resolved(owner, hint, parameters) for name, hint in _hints(owner, function).items()}
    check_signature(owner, function, hints)
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise DefinitionError(f"{owner} is a generator; an exported method returns one value")
    summary, _, description = inspect.cleandoc(function.__doc__ or "").partition("\n\n")
    return MethodSpec(
        name=owner.rpartition(".")[2],
        function=function,
        is_async=inspect.iscoroutinefunction(function),
        readonly=options.readonly,
        reentrant=policy.reentrant if options.reentrant is None else options.reentrant,
        timeout_s=options.timeout_s,
        raises=tuple(dict.fromkeys((*options.raises, *getattr(function, RAISES_ATTRIBUTE, ())))),
        arguments=Arguments(owner, function, hints),
        result=Result(owner, hints.get("return", Any)),
        summary=" ".join(summary.split()),
        description=description.strip(),
        handler=options.handler,
        takes_outcome=takes_outcome(
            owner, function, hints, is_hook=owner.rpartition(".")[2] in HOOKS, is_handler=options.handler
        ),
    )
