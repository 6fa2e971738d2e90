"""Component schemas, collected from the ``$defs`` of many JSON Schemas.

Two types may each define an ``Item``. Where both mean the same thing they share one component; where they
differ each gets its owner's name in front. What a definition means includes everything that it refers to.

A model whose fields have defaults has two schemas: an answer has all fields, a request may leave some out. The
schema of answers has the model's name, the one of requests has ``_input`` behind it.

The title of a component is its name: generators of clients name their classes after it, and two that differ must not
meet there again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, cast

from goverse.model.catalog import JsonSchema

_LOCAL: Final = "#/$defs/"
_COMPONENT: Final = "#/components/schemas/"
_FORBIDDEN: Final = re.compile(r"[^A-Za-z0-9._-]")

Schema = dict[str, Any]


class Components:
    """Schemas by name; the gate's own names are taken first and never renamed."""

    def __init__(self, own: Mapping[str, Schema]) -> None:
        """Begin with the gate's own schemas."""
        self.schemas: dict[str, Schema] = dict(own)
        self._meanings: dict[str, str] = dict.fromkeys(own, "")

    def inline(self, schema: JsonSchema, owner: str, *, sent: bool = False) -> Schema:
        """Return ``schema`` with its definitions moved to components; ``sent`` if it is of a request."""
        definitions = cast("Mapping[str, Schema]", schema.get("$defs", {}))
        names = {name: self._name(name, definitions, owner, sent=sent) for name in sorted(definitions)}
        for name in sorted(definitions):
            self._keep(names[name], cast("Schema", _moved(definitions[name], names)))
        return cast("Schema", _moved({key: value for key, value in schema.items() if key != "$defs"}, names))

    def named(self, name: str, schema: JsonSchema, owner: str, *, sent: bool = False) -> Schema:
        """Make ``schema`` a component of its own, unless it refers to one, and return a reference."""
        whole = self.inline(schema, owner, sent=sent)
        if "$ref" in whole:
            return whole
        definitions = cast("Mapping[str, Schema]", schema.get("$defs", {}))
        while name in definitions:  # which means something else, since the whole does not refer to it
            name += "_"
        root = {key: value for key, value in schema.items() if key != "$defs"}
        chosen = self._name(name, {**definitions, name: root}, owner, sent=sent)
        self._keep(chosen, whole)
        return {"$ref": _COMPONENT + chosen}

    def resolve(self, schema: Schema) -> Schema:
        """Return what ``schema`` refers to, if it is a reference."""
        reference = schema.get("$ref")
        return self.schemas[reference.removeprefix(_COMPONENT)] if isinstance(reference, str) else schema

    def _keep(self, name: str, schema: Schema) -> None:
        if name not in self.schemas:
            self.schemas[name] = {**schema, "title": name} if "title" in schema else schema

    def _name(self, name: str, definitions: Mapping[str, Schema], owner: str, *, sent: bool) -> str:
        reachable = {other: definitions[other] for other in sorted(_reachable(name, definitions))}
        return self._free(_FORBIDDEN.sub("_", name), json.dumps(reachable, sort_keys=True), owner, sent=sent)

    def _free(self, name: str, meaning: str, owner: str, *, sent: bool) -> str:
        """Return ``name``, or a longer one if it is taken by something that means something else."""
        candidates = [name, f"{name}_input", f"{owner}_{name}"] if sent else [name, f"{owner}_{name}"]
        number = 2
        while True:
            for candidate in candidates:
                if self._meanings.setdefault(candidate, meaning) == meaning:
                    return candidate
            candidates = [f"{owner}_{name}_{number}"]
            number += 1


def _reachable(name: str, definitions: Mapping[str, Schema]) -> set[str]:
    found: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current in definitions and current not in found:
            found.add(current)
            waiting.extend(_references(definitions[current]))
    return found


def _references(node: object) -> list[str]:
    if isinstance(node, dict):
        mapping = cast("dict[str, object]", node)
        reference = mapping.get("$ref")
        own = [reference.removeprefix(_LOCAL)] if isinstance(reference, str) else []
        return own + [name for value in mapping.values() for name in _references(value)]
    if isinstance(node, list):
        return [name for value in cast("list[object]", node) for name in _references(value)]
    return []


def _moved(node: object, names: Mapping[str, str]) -> object:
    """Return a copy whose local references (also those of discriminators) point to components."""
    if isinstance(node, dict):
        return {key: _moved(value, names) for key, value in cast("dict[str, object]", node).items()}
    if isinstance(node, list):
        return [_moved(value, names) for value in cast("list[object]", node)]
    if isinstance(node, str) and node.startswith(_LOCAL) and node.removeprefix(_LOCAL) in names:
        return _COMPONENT + names[node.removeprefix(_LOCAL)]
    return node
