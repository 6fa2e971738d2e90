"""From compiled classes to the catalog that gates document."""

from __future__ import annotations

from goverse.errors import BusinessError
from goverse.model.catalog import Catalog, ErrorDescription, JsonSchema, MethodDescription, TypeDescription
from goverse.objects.registry import Registry
from goverse.objects.spec import MethodSpec, TypeSpec

REF_TEMPLATE = "#/$defs/{model}"
NO_ARGUMENTS: JsonSchema = {"type": "object", "properties": {}, "additionalProperties": False}


def describe(registry: Registry) -> Catalog:
    """Return the description of every type of ``registry``, by name."""
    return {spec.name: _describe_type(spec) for spec in registry}


def _describe_type(spec: TypeSpec) -> TypeDescription:
    on_create = spec.hooks.get("on_create")
    return TypeDescription(
        name=spec.name,
        description=spec.description,
        state=spec.state.json_schema(REF_TEMPLATE),
        create_arguments=on_create.arguments.json_schema(REF_TEMPLATE) if on_create else NO_ARGUMENTS,
        methods={name: _describe_method(method) for name, method in sorted(spec.methods.items())},
        state_version=spec.policy.state_version,
    )


def _describe_method(method: MethodSpec) -> MethodDescription:
    return MethodDescription(
        name=method.name,
        summary=method.summary,
        description=method.description,
        readonly=method.readonly,
        arguments=method.arguments.json_schema(REF_TEMPLATE),
        result=method.result.json_schema(REF_TEMPLATE),
        errors=tuple(
            ErrorDescription(error.status, error.code, " ".join((error.__doc__ or "").split("\n\n")[0].split()))
            for error in method.raises
            if issubclass(error, BusinessError)
        ),
        timeout_s=method.timeout_s,
    )
