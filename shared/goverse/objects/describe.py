"""Conversion of compiled classes to the catalog that a node publishes to gates."""

from __future__ import annotations

from collections.abc import Iterable

from goverse.errors import BusinessError, summary_of
from goverse.model.catalog import Catalog, ErrorDescription, JsonSchema, MethodDescription, TypeDescription
from goverse.objects.registry import Registry
from goverse.objects.schemas import REF_TEMPLATE
from goverse.objects.spec import MethodSpec, TypeSpec

NO_ARGUMENTS: JsonSchema = {"type": "object", "properties": {}, "additionalProperties": False}


def describe(registry: Registry) -> Catalog:
    """Return the description of every type of ``registry``, by name."""
    return {spec.name: _describe_type(spec) for spec in registry}


def _describe_type(spec: TypeSpec) -> TypeDescription:
    on_create = spec.hooks.get("on_create")
    shown = spec.view.result if spec.view is not None else spec.state
    exported = {name: method for name, method in sorted(spec.methods.items()) if not method.handler}
    before = _errors_before(spec)
    return TypeDescription(
        name=spec.name,
        description=spec.description,
        state=shown.json_schema(REF_TEMPLATE),
        create_arguments=on_create.arguments.json_schema(REF_TEMPLATE) if on_create else NO_ARGUMENTS,
        methods={name: _describe_method(method, before) for name, method in exported.items()},
        handlers=tuple(sorted(spec.methods.keys() - exported.keys())),
        create=spec.policy.create,
        delete=spec.policy.delete,
        state_version=spec.policy.state_version,
        has_view=spec.view is not None,
        has_hidden=bool(spec.state.hidden),
        create_errors=_describe_errors(on_create.raises) if on_create else (),
        delete_errors=_describe_errors(spec.hooks["on_delete"].raises) if "on_delete" in spec.hooks else (),
    )


def _errors_before(spec: TypeSpec) -> tuple[type[Exception], ...]:
    """Return the errors of the hooks that may run before the first call of a method."""
    hooks = [spec.hooks["on_activate"]] if "on_activate" in spec.hooks else []
    on_create = spec.hooks.get("on_create")
    if on_create is not None and spec.policy.creates_on_call and not on_create.arguments.required:
        hooks.append(on_create)
    return tuple(error for hook in hooks for error in hook.raises)


def _describe_errors(raises: Iterable[type[Exception]]) -> tuple[ErrorDescription, ...]:
    return tuple(
        ErrorDescription(error.status, error.code, summary_of(error))
        for error in dict.fromkeys(raises)
        if issubclass(error, BusinessError)
    )


def _describe_method(method: MethodSpec, before: tuple[type[Exception], ...]) -> MethodDescription:
    return MethodDescription(
        name=method.name,
        summary=method.summary,
        description=method.description,
        readonly=method.readonly,
        arguments=method.arguments.json_schema(REF_TEMPLATE),
        result=method.result.json_schema(REF_TEMPLATE),
        errors=_describe_errors((*method.raises, *before)),
        timeout_s=method.timeout_s,
    )
