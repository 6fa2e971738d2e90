"""``TypeSpec``: a user's class, read once and compiled into validators and call options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, ClassVar, Final, get_origin, get_type_hints
from weakref import WeakKeyDictionary

from goverse.errors import DataNewer, DefinitionError, MethodFailed
from goverse.model.keys import is_name
from goverse.objects.codec import Arguments, Result, State
from goverse.objects.defaults import default_maker
from goverse.objects.field import hidden_fields
from goverse.objects.method import (
    HOOKS,
    MIGRATION_ATTRIBUTE,
    OPTIONS_ATTRIBUTE,
    RAISES_ATTRIBUTE,
    VIEW_ATTRIBUTE,
    CallOptions,
)
from goverse.objects.policy import Policy

RESERVED: Final = frozenset({"id", "key", "context", "ref", "create", "delete", "list", "goverse_policy", *HOOKS})

_NOT_DEFAULTS: Final = (FunctionType, property, classmethod, staticmethod)

Migration = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True, slots=True, eq=False)
class MethodSpec:
    """One exported method, or a hook.

    Attributes:
        name: as callers write it.
        function: the plain function; takes the object first.
        is_async: whether calling it gives a coroutine.
        readonly: it may not change the state.
        reentrant: a returning call chain may run while it waits.
        timeout_s: longest time of one call, or None for the configured default.
        raises: exceptions that it documents.
        arguments: checks what comes in.
        result: checks what goes out.
        summary, description: from the docstring; empty where there is none.
        handler: only other objects and the system may call it.
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


@dataclass(frozen=True, slots=True, eq=False)
class ViewSpec:
    """What callers see instead of the state.

    Attributes:
        name: of the function, for messages.
        function: takes the object and returns what is shown.
        result: checks and encodes that.
    """

    name: str
    function: Callable[[Any], Any]
    result: Result


@dataclass(frozen=True, slots=True, eq=False)
class TypeSpec:
    """One object type.

    Attributes:
        cls: the user's class.
        policy: its class options.
        state: the codec of its persistent fields.
        transient: makers of the transient attributes that have a default.
        methods: the exported methods by name.
        hooks: the hooks that it defines, by name.
        migrations: for each older state version, the step to the next.
        description: the class's docstring.
        view: what callers see instead of the state, or None.
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
        """Return the spec of a class, compiled at the first use.

        Raises:
            DefinitionError: the class breaks a rule of the object model.
        """
        spec = cls._compiled.get(user_class)
        if spec is None:
            spec = cls._compiled[user_class] = compile_class(user_class)
        return spec

    def migrate(self, values: dict[str, Any], state_version: int) -> dict[str, Any]:
        """Return JSON values of an older state version as values of the present one.

        Raises:
            DataNewer: the values were written by a newer class.
            MethodFailed: a migration is missing or raised.
        """
        present = self.policy.state_version
        if state_version > present:
            raise DataNewer(f"the state of this {self.name} has version {state_version}; this program knows {present}")
        for version in range(state_version, present):
            step = self.migrations.get(version)
            if step is None:
                raise MethodFailed(f"{self.name} has no migration from state version {version} to {version + 1}")
            try:
                values = step(values)
            except Exception as error:
                raise MethodFailed(f"the migration of {self.name} from state version {version} failed") from error
        return values


def compile_class(user_class: type[Any]) -> TypeSpec:
    """Read a class.

    Raises:
        DefinitionError: it breaks a rule of the object model.
    """
    name = user_class.__name__
    policy = getattr(user_class, "goverse_policy", None)
    if not isinstance(policy, Policy) or policy.abstract:
        raise DefinitionError(f"{name} is not an object type; derive it from goverse.Object, without abstract=True")
    persistent, transient = _fields(user_class)
    defaults = {field: getattr(user_class, field) for field in persistent if hasattr(user_class, field)}
    return TypeSpec(
        cls=user_class,
        policy=policy,
        state=State(name, persistent, defaults, hidden_fields(user_class, persistent)),
        transient=transient,
        methods=_methods(user_class, policy),
        hooks=_hooks(user_class, policy),
        migrations=_migrations(user_class, policy),
        description=inspect.cleandoc(user_class.__doc__ or ""),
        view=_view(user_class),
    )


def _methods(user_class: type[Any], policy: Policy) -> dict[str, MethodSpec]:
    """Return the exported methods by name."""
    methods: dict[str, MethodSpec] = {}
    for attribute, function in _functions(user_class):
        options = getattr(function, OPTIONS_ATTRIBUTE, None)
        if isinstance(options, CallOptions):
            owner = f"{user_class.__name__}.{attribute}"
            if not is_name(attribute) or attribute in RESERVED:
                raise DefinitionError(f"{owner} cannot be exported: the name is reserved or begins with '_'")
            methods[attribute] = _method(owner, function, options, policy)
    return methods


def _hooks(user_class: type[Any], policy: Policy) -> dict[str, MethodSpec]:
    """Return the hooks that the class defines, by name."""
    name = user_class.__name__
    hooks = {
        hook: _method(f"{name}.{hook}", getattr(user_class, hook), CallOptions(reentrant=False), policy)
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
        DefinitionError: there are two, it cannot be evaluated without a call, or a subclass overrides it unmarked.
    """
    attribute = _view_name(user_class)
    if attribute is None:
        return None
    function = dict(_functions(user_class))[attribute]
    owner = f"{user_class.__name__}.{attribute}"
    if hasattr(function, OPTIONS_ATTRIBUTE):
        raise DefinitionError(f"{owner} is a view; a view cannot be called, so leave @call or @handler away")
    if attribute in RESERVED:
        raise DefinitionError(f"{owner}: the name is taken by the object model; choose another")
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise DefinitionError(f"{owner} is a view: make it a plain def; it sees the state and cannot wait")
    hints = _hints(owner, function)
    if len(inspect.signature(function).parameters) != 1:
        raise DefinitionError(f"{owner} is a view: it takes no parameters besides self")
    if "return" not in hints:
        raise DefinitionError(f"{owner} is a view: annotate what it returns, as in -> OrderView")
    return ViewSpec(attribute, function, Result(owner, hints["return"]))


def _view_name(user_class: type[Any]) -> str | None:
    """Return the name of the function that is marked with ``@view``, in the class or in one of its bases."""
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
                f"{name}.{attribute} overrides the view of {base.__name__} without @view, which would show the whole "
                "state; mark it with @view"
            )
    if len(declared) > 1:
        raise DefinitionError(f"{name} has the views {', '.join(sorted(declared))}; a class has at most one")
    return next(iter(declared), None)


def _migrations(user_class: type[Any], policy: Policy) -> dict[int, Migration]:
    """Return the migrations by the version that they begin from: none at all, or one for every older version."""
    migrations: dict[int, Migration] = {}
    for _, function in _functions(user_class):
        origin = getattr(function, MIGRATION_ATTRIBUTE, None)
        if isinstance(origin, int):
            migrations[origin] = function
    missing = [version for version in range(1, policy.state_version) if version not in migrations]
    if missing and migrations:
        raise DefinitionError(
            f"{user_class.__name__} has state_version {policy.state_version} but no migration from version {missing[0]}"
        )
    return migrations


def _functions(user_class: type[Any]) -> list[tuple[str, Callable[..., Any]]]:
    """Return the functions that attribute access on the class finds, also those wrapped as static methods."""
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
    """Return the persistent fields with their types, and makers for transient ones that have a default."""
    own = [base for base in user_class.__mro__ if base is not object and base.__module__ != "goverse.objects.object"]
    hints = _hints(user_class.__name__, user_class)
    names = [field for base in reversed(own) for field in vars(base).get("__annotations__", {})]
    persistent: dict[str, Any] = {}
    transient: dict[str, Callable[[], Any]] = {}
    for name in dict.fromkeys(names):
        hint = hints[name]
        if hint is ClassVar or get_origin(hint) is ClassVar:
            continue
        if name in RESERVED or name.startswith("_goverse"):
            raise DefinitionError(
                f"{user_class.__name__}.{name}: the name is taken by the object model; choose another"
            )
        if not name.startswith("_"):
            if isinstance(inspect.getattr_static(user_class, name, None), _NOT_DEFAULTS):
                raise DefinitionError(f"{user_class.__name__}.{name} is a field and a method; choose another name")
            persistent[name] = hint
        elif hasattr(user_class, name):
            transient[name] = default_maker(getattr(user_class, name))
    return persistent, transient


def _method(owner: str, function: Callable[..., Any], options: CallOptions, policy: Policy) -> MethodSpec:
    hints = _hints(owner, function)
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
    )
