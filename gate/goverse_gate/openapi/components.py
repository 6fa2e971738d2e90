"""Component schemas, collected from the ``$defs`` of many JSON Schemas.

Two object types may each define an ``Item``. Equal definitions share one component. If the definitions differ, the
second one gets its owner's name as a prefix, for example ``Cart_Item``. Definitions are equal if they and everything
that they refer to are equal.

A model whose fields have defaults has two schemas: responses contain all fields, requests may omit some. The schema for
responses has the model's name; the schema for requests has the suffix ``_input``.

The title of a component is its name. Client generators name classes by the title, so titles must be unique too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, cast

from goverse.model.catalog import JsonSchema
from goverse.objects.schemas import referenced

_LOCAL: Final = "#/$defs/"
_COMPONENT: Final = "#/components/schemas/"
_FORBIDDEN: Final = re.compile(r"[^A-Za-z0-9._-]")

Schema = dict[str, Any]


class Components:
    """Component schemas by name. The gate's own schemas come first and are never renamed."""

    def __init__(self, own: Mapping[str, Schema]) -> None:
        """Start with the gate's own schemas."""
        self.schemas: dict[str, Schema] = dict(own)
        self._meanings: dict[str, str] = dict.fromkeys(own, "")

    def admit(self, own: Mapping[str, Schema]) -> bool:
        """Add further schemas of the gate. Return False, and change nothing, if one of their names is taken."""
        if not own.keys().isdisjoint(self._meanings):
            return False
        self.schemas.update(own)
        self._meanings.update(dict.fromkeys(own, ""))
        return True

    def inline(self, schema: JsonSchema, owner: str, *, sent: bool = False) -> Schema:
        """Return ``schema`` with its definitions moved to components. ``sent`` is True for the schema of a request."""
        definitions = cast("Mapping[str, Schema]", schema.get("$defs", {}))
        names = {name: self._name(name, definitions, owner, sent=sent) for name in sorted(definitions)}
        for name in sorted(definitions):
            self._keep(names[name], cast("Schema", _moved(definitions[name], names)))
        return cast("Schema", _moved({key: value for key, value in schema.items() if key != "$defs"}, names))

    def named(self, name: str, schema: JsonSchema, owner: str, *, sent: bool = False) -> Schema:
        """Return a reference to ``schema``, which becomes a component unless it refers to one already."""
        whole = self.inline(schema, owner, sent=sent)
        if "$ref" in whole:
            return whole
        definitions = cast("Mapping[str, Schema]", schema.get("$defs", {}))
        while name in definitions:  # another definition, because the whole schema does not refer to it
            name += "_"
        root = {key: value for key, value in schema.items() if key != "$defs"}
        chosen = self._name(name, {**definitions, name: root}, owner, sent=sent)
        self._keep(chosen, whole)
        return {"$ref": _COMPONENT + chosen}

    def resolve(self, schema: Schema) -> Schema:
        """Return the component that ``schema`` refers to, or ``schema`` itself if it is not a reference."""
        reference = schema.get("$ref")
        return self.schemas[reference.removeprefix(_COMPONENT)] if isinstance(reference, str) else schema

    def _keep(self, name: str, schema: Schema) -> None:
        if name not in self.schemas:
            self.schemas[name] = {**schema, "title": name} if "title" in schema else schema

    def _name(self, name: str, definitions: Mapping[str, Schema], owner: str, *, sent: bool) -> str:
        names = {name} | referenced(definitions[name], definitions)
        reachable = {other: definitions[other] for other in names}
        return self._free(_FORBIDDEN.sub("_", name), json.dumps(reachable, sort_keys=True), owner, sent=sent)

    def _free(self, name: str, meaning: str, owner: str, *, sent: bool) -> str:
        """Return ``name``, or a longer name if another definition has it."""
        candidates = [name, f"{name}_input", f"{owner}_{name}"] if sent else [name, f"{owner}_{name}"]
        number = 2
        while True:
            for candidate in candidates:
                if self._meanings.setdefault(candidate, meaning) == meaning:
                    return candidate
            candidates = [f"{owner}_{name}_{number}"]
            number += 1


def _moved(node: object, names: Mapping[str, str]) -> object:
    """Return a copy whose local references, including those in discriminators, point to components."""
    if isinstance(node, dict):
        return {key: _moved(value, names) for key, value in cast("dict[str, object]", node).items()}
    if isinstance(node, list):
        return [_moved(value, names) for value in cast("list[object]", node)]
    if isinstance(node, str) and node.startswith(_LOCAL) and node.removeprefix(_LOCAL) in names:
        return _COMPONENT + names[node.removeprefix(_LOCAL)]
    return node
