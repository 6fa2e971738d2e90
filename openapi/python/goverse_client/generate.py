"""Typed clients: a module for the types of one application, written from its OpenAPI document.

Schemas become ``TypedDict`` classes (datamodel-code-generator); each object type becomes a handle whose ``call`` knows
the methods, their arguments and results. What runs is the same client; the module tells type checkers what it carries.
"""

from __future__ import annotations

import ast
import json
import keyword
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from goverse_client.inspection import strangers

_COMPONENT: Final = "#/components/schemas/"
_CALL: Final = re.compile(r"/objects/(?P<type>[^/{}]+)/\{id\}/call/(?P<method>[^/{}]+)")
_OBJECT: Final = re.compile(r"/objects/(?P<type>[^/{}]+)/\{id\}")

Schema = dict[str, Any]

_NOTHING: Final[Schema] = {"type": "object", "properties": {}}


class NotADocument(ValueError):
    """The text is no OpenAPI document of a gate."""


@dataclass
class ObjectType:
    """One type of objects: the names of the classes that describe its state, arguments and results."""

    name: str
    state: str = "Any"
    creation: str = ""
    methods: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])


def generate(document: Mapping[str, Any], name: str, source: str) -> str:
    """Return the text of a module with the clients ``{name}`` and ``{name}Sync``.

    Args:
        document: an OpenAPI 3.1 document, as ``goverse openapi export`` prints it.
        name: of the client class, for example ``AuctionHouse``.
        source: what the document is called in the module's first line.

    Raises:
        NotADocument: it describes no objects, ``name`` is no name of a class, or text of the document would become
            code: names of types and methods are identifiers.
    """
    if keyword.iskeyword(_identifier(name, "class")):
        raise NotADocument(f"{name!r} is no name of a class")
    schemas = _Schemas(document)
    types = _types(document, schemas)
    if not types:
        raise NotADocument("the document describes no objects: it has no path /objects/{type}/{id}")
    handles = "\n\n".join(_handle(each, sync=sync) for sync in (False, True) for each in types)
    clients = "\n\n".join(_client(types, name, sync=sync) for sync in (False, True))
    head, classes = schemas.classes()
    said = re.sub(r"[^ !#-\[\]-~]", "?", source)  # it stands in a docstring
    return _MODULE.format(name=name, source=said, imports=head, classes=classes, handles=handles, clients=clients)


_MODULE: Final = '''\
"""The objects of {source}; written by ``python -m goverse_client generate``."""

from __future__ import annotations

{imports}

from goverse_client import Client, ClientSync, Handle, HandleSync, Reply

__all__ = ["{name}", "{name}Sync"]


{classes}

{handles}

{clients}
'''


_IMPORTED: Final = ("from typing import Any, Literal, Unpack, overload",)


def _merged(imports: list[str]) -> str:
    """Return the imports that the classes and the clients need, each module once, without ``__future__``."""
    names: dict[str, set[str]] = {}
    for node in ast.parse("\n".join((*_IMPORTED, *imports))).body:
        if isinstance(node, ast.ImportFrom) and node.module not in (None, "__future__"):
            names.setdefault(str(node.module), set()).update(ast.unparse(alias) for alias in node.names)
    return "\n".join(f"from {module} import {', '.join(sorted(names[module]))}" for module in sorted(names))


def _identifier(name: str, kind: str) -> str:
    if not (name.isascii() and name.isidentifier()):
        raise NotADocument(f"{name!r} is no name of a {kind}")
    return name


def _types(document: Mapping[str, Any], schemas: _Schemas) -> list[ObjectType]:
    paths = cast("Mapping[str, Mapping[str, Any]]", document.get("paths", {}))
    found: dict[str, ObjectType] = {}
    for path, operations in sorted(paths.items()):
        match = _OBJECT.fullmatch(path) or _CALL.fullmatch(path)
        if match is None:
            continue
        type_name = _identifier(match["type"], "type")
        each = found.setdefault(type_name, ObjectType(type_name))
        if match.re is _OBJECT:
            each.state = schemas.name(_result_of(operations["get"]), f"{each.name}_state")
            if "put" in operations:  # a type whose objects callers may not create has no such operation
                each.creation = schemas.name(_arguments_of(operations["put"]), f"{each.name}_create_arguments")
        else:
            method = _identifier(match["method"], "method")
            prefix = f"{each.name}_{method}"
            operation = operations["post"]
            each.methods[method] = (
                schemas.name(_arguments_of(operation), f"{prefix}_arguments"),
                schemas.name(_result_of(operation), f"{prefix}_result"),
            )
    return [found[name] for name in sorted(found)]


def _result_of(operation: Mapping[str, Any]) -> Schema:
    content = operation["responses"]["200"].get("content", {})
    return cast("Schema", content.get("application/json", {}).get("schema", {"type": "null"}))


def _arguments_of(operation: Mapping[str, Any]) -> Schema:
    content = operation.get("requestBody", {}).get("content", {})
    return cast("Schema", content.get("application/json", {}).get("schema", _NOTHING))


class _Schemas:
    """The schemas that the module needs, each under the name of its class."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._source = cast("Mapping[str, Schema]", document.get("components", {}).get("schemas", {}))
        self._names: dict[str, str] = {}
        self._used: dict[str, Schema] = {}

    def name(self, schema: Schema, wanted: str) -> str:
        """Return the name of the class for ``schema``; ``wanted`` where it has none yet."""
        reference = schema.get("$ref")
        if isinstance(reference, str):
            return self._component(reference)
        name = self._free(wanted)
        self._used[name] = self._renamed(schema)
        return name

    def classes(self) -> tuple[str, str]:
        """Return the imports and the definitions of all classes."""
        # Here, so that the client alone does not need it
        from datamodel_code_generator import Error, generate  # noqa: PLC0415
        from datamodel_code_generator.enums import DataModelType, InputFileType, OpenAPIScope  # noqa: PLC0415
        from datamodel_code_generator.format import Formatter, PythonVersion  # noqa: PLC0415

        document = {
            "openapi": "3.1.0",
            "info": {"title": "", "version": ""},
            "paths": {},
            "components": {"schemas": self._used},
        }
        try:
            text = generate(
                json.dumps(document),
                input_file_type=InputFileType.OpenAPI,
                openapi_scopes=[OpenAPIScope.Schemas],
                output_model_type=DataModelType.TypingTypedDict,
                target_python_version=PythonVersion.PY_311,
                use_standard_collections=True,
                use_union_operator=True,
                disable_timestamp=True,
                enable_version_header=False,
                custom_file_header="",
                formatters=[Formatter.BUILTIN],
            )
            found = next(strangers(str(text)), None)
        except (Error, SyntaxError) as error:
            raise NotADocument(f"its schemas cannot be written as types: {error}") from error
        if found is not None:
            raise NotADocument(f"its schemas would become more than types: {found[:200]!r}")
        lines = str(text).strip().split("\n")  # not what else may end a line, which stands in strings
        last = max((at for at, line in enumerate(lines) if line.startswith(("from ", "import "))), default=-1)
        imports = [line for line in lines[: last + 1] if line.startswith(("from ", "import "))]
        return _merged(imports), "\n".join(lines[last + 1 :]).strip() + "\n"

    def _component(self, reference: str) -> str:
        component = reference.removeprefix(_COMPONENT)
        if component == reference or component not in self._source:  # a file or an address would be read
            raise NotADocument(f"the reference {reference!r} is to no schema of the document")
        name = self._names.get(component)
        if name is None:
            name = self._names[component] = self._free(component)
            self._used[name] = {}  # before its parts, which may refer to it
            self._used[name] = self._renamed(self._source[component])
        return name

    def _free(self, wanted: str) -> str:
        name = "".join(part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]+", wanted)) or "Value"
        if not name.isidentifier():
            name = f"Value{name}"
        names = (name, *(f"{name}{number}" for number in range(2, len(self._used) + 3)))
        return next(each for each in names if each not in self._used and each not in _TAKEN)

    def _member(self, key: str, value: Any) -> Any:
        if key == "properties":  # whose keys are the user's, and may be called "title"
            return {name: self._renamed(schema) for name, schema in value.items()}
        return self._renamed(value)

    def _renamed(self, node: Any) -> Any:
        if isinstance(node, dict):
            mapping = cast("dict[str, Any]", node)
            reference = mapping.get("$ref")
            if isinstance(reference, str):
                return {"$ref": _COMPONENT + self._component(reference)}
            # Titles would name classes, addresses be read; and not every type checker knows a closed TypedDict
            dropped = {*_DROPPED, "additionalProperties"} if "properties" in mapping else _DROPPED
            mapping = _as_json_carries_it(mapping)
            return {key: self._member(key, value) for key, value in mapping.items() if key not in dropped}
        if isinstance(node, list):
            return [self._renamed(value) for value in cast("list[object]", node)]
        return node


_DROPPED: Final = frozenset(
    ("title", "$id", "$dynamicRef", "$recursiveRef", "format", "contentEncoding", "propertyNames", "uniqueItems")
)
"""``format`` and its like would make texts another type (``timedelta``), lists sets, keys of objects numbers."""


def _as_json_carries_it(schema: Schema) -> Schema:
    """Return a schema whose tuples are lists: a client gets and sends what JSON has, and JSON has only lists."""
    places = schema.get("prefixItems")
    if not isinstance(places, list) or not places:
        return schema
    found = cast("list[object]", places)
    kinds = [each for at, each in enumerate(found) if each not in found[:at]]
    rest = schema.get("items")
    longer = schema.get("maxItems") != len(found)
    if longer and isinstance(rest, dict) and rest not in kinds:
        kinds.append(cast("Schema", rest))
    plain = {key: value for key, value in schema.items() if key not in ("prefixItems", "items")}
    return {**plain, "items": kinds[0] if len(kinds) == 1 else {"anyOf": kinds}}


_TAKEN: Final = frozenset(
    (
        *("None", "True", "False"),
        *("Any", "Literal", "NotRequired", "TypeAlias", "TypedDict", "Unpack"),
        *("Client", "ClientSync", "Handle", "HandleSync", "Reply"),
    )
)


def _handle(each: ObjectType, *, sync: bool) -> str:
    define, wait, suffix = ("def", "", "Sync") if sync else ("async def", "await ", "")
    lines = [f"class {each.name}Handle{suffix}(Handle{suffix}):", f'    """One object of the type {each.name}."""', ""]
    if each.methods:
        lines += _calls(each, define, wait)
    lines += [
        f"    {define} get(self) -> {each.state}:",
        '        """Return the state."""',
        f"        reply: Reply[{each.state}] = {wait}self._get()",
        "        return reply.value",
        "",
    ]
    if each.creation:
        lines += [
            f"    {define} create(self, **arguments: Unpack[{each.creation}]) -> Reply[Any]:",
            '        """Create the object; one that was created with the same arguments is left as it is."""',
            f"        return {wait}self._create(dict(arguments), new=False)",
            "",
            f"    {define} create_new(self, **arguments: Unpack[{each.creation}]) -> Reply[Any]:",
            '        """Create the object, which must not exist."""',
            f"        return {wait}self._create(dict(arguments), new=True)",
            "",
        ]
    return "\n".join(lines)


def _calls(each: ObjectType, define: str, wait: str) -> Iterator[str]:
    many = len(each.methods) > 1
    end = " ..." if many else ""
    for method, (arguments, result) in sorted(each.methods.items()):
        if many:
            yield "    @overload"
        literal = f"method: Literal[{method!r}], /, **arguments: Unpack[{arguments}]"
        yield f"    {define} call(self, {literal}) -> {result}:{end}"
    if many:
        yield f"    {define} call(self, method: str, /, **arguments: Any) -> Any:"
    yield '        """Call a method; return its result, once its effect is durable."""'
    result = "Any" if many else next(iter(each.methods.values()))[1]
    yield f"        reply: Reply[{result}] = {wait}self._call(method, dict(arguments))"
    yield "        return reply.value"
    yield ""


def _client(types: list[ObjectType], name: str, *, sync: bool) -> str:
    suffix = "Sync" if sync else ""
    lines = [f"class {name}{suffix}(Client{suffix}):", '    """The client of a gate that serves these objects."""', ""]
    many = len(types) > 1
    for each in types:
        if many:
            lines.append("    @overload")
        literal = f"type_name: Literal[{each.name!r}], object_id: str"
        lines.append(f"    def object(self, {literal}) -> {each.name}Handle{suffix}:" + (" ..." if many else ""))
    if many:
        lines.append("    def object(self, type_name: str, object_id: str) -> Any:")
    lines += ['        """Return a handle to an object; nothing is sent."""']
    pairs = ", ".join(f"{each.name!r}: {each.name}Handle{suffix}" for each in types)
    lines += [
        f"        handles: dict[str, Any] = {{{pairs}}}",
        "        if type_name not in handles:",
        '            raise ValueError(f"no type {type_name!r} is known here; generate the client again")',
        "        return handles[type_name](self, type_name, object_id)",
        "",
    ]
    return "\n".join(lines)
