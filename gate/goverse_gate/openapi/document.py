"""The whole document: the paths of all types, the gate's own routes, and shared components."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from goverse.model.catalog import Catalog, MethodDescription, TypeDescription
from goverse_gate.openapi import answers, calls
from goverse_gate.openapi.answers import ErrorResponses, reference, success_headers
from goverse_gate.openapi.components import Components, Schema
from goverse_gate.openapi.examples import NoExample, example_of

OPENAPI_VERSION: Final = "3.1.0"
DESCRIPTION: Final = """\
Call a method of an object with `POST /objects/{type}/{id}/call/{method}` and the arguments as a JSON object. When a
call returns, its effect is durable. `/v1/objects` is an alias for `/objects`. With `Prefer: respond-async` a call is
answered as soon as it is durable, and runs afterwards; `/calls/{id}` has its state.

All operations also accept these request headers: `GoVerse-Request-Id` (an id for the request, shown in logs),
`traceparent` and `tracestate` (W3C trace context), and `GoVerse-Min-Seq` (a `GoVerse-Commit-Seq` that the response
must include; otherwise the error is `unavailable`).

Errors are `application/problem+json` documents with a stable `code`."""

Operation = dict[str, Any]

_FASTAPI_ERRORS: Final = ("HTTPValidationError", "ValidationError")
_NO_ROUTES: Final[Mapping[str, Any]] = {}

NOTHING: Final[Schema] = {"const": None}
"""The result of a method that returns nothing. `{"type": "null"}` would mean the same, but openapi-generator turns it
into code that does not compile: a class named `Null`, a type named `nil`."""


class ApiDocument:
    """Builds the document, type by type."""

    def __init__(self, catalog: Catalog, routes: Mapping[str, Any] = _NO_ROUTES) -> None:
        """Describe the types of ``catalog``. ``routes`` is FastAPI's document for the gate's other routes."""
        own = {"ObjectPage": answers.PAGE, "ObjectSummary": answers.SUMMARY, "Problem": answers.PROBLEM}
        own |= calls.SCHEMAS
        self._catalog = catalog
        self.components = Components({**_schemas_of(routes), **own})
        self.errors = ErrorResponses()
        self.paths: dict[str, Any] = {}
        self.tags: list[dict[str, str]] = []
        self._operation_ids: set[str] = set()
        for _, described in sorted(catalog.items()):
            self._name_answers(described)
        for _, described in sorted(catalog.items()):
            self._add_type(described)
        self.paths |= calls.CallPaths(self.errors).paths()
        self._add_routes(routes)

    def with_routes(self, routes: Mapping[str, Any]) -> ApiDocument:
        """Return the document of the same types with the gate's other routes; this one, which has none, is used up."""
        schemas = _schemas_of(routes)
        if not self.components.admit(schemas):
            return ApiDocument(self._catalog, routes)  # a model of the application has to take another name
        self._add_routes(routes)
        return self

    def _add_routes(self, routes: Mapping[str, Any]) -> None:
        for path, item in sorted(routes.get("paths", {}).items()):
            self.paths[path] = {verb: self._adopt(operation) for verb, operation in item.items()}

    def as_json(self, title: str, version: str) -> dict[str, Any]:
        """Return the document."""
        return {
            "openapi": OPENAPI_VERSION,
            "info": {"title": title, "version": version, "description": DESCRIPTION},
            "servers": [{"url": "/"}],
            "security": [],
            "tags": self.tags,
            "paths": self.paths,
            "components": {
                "schemas": dict(sorted(self.components.schemas.items())),
                "responses": dict(sorted((self.errors.shared | {calls.ACCEPTED: calls.accepted()}).items())),
                "parameters": answers.PARAMETERS | calls.PARAMETERS,
                "headers": answers.HEADERS,
            },
        }

    def _name_answers(self, described: TypeDescription) -> None:
        """Reserve the models' names for the schemas of responses, before the schemas of requests are added."""
        self._state_schema(described)
        for _, method in sorted(described.methods.items()):
            self._result_schema(f"{described.name}_{method.name}", method)

    def _state_schema(self, described: TypeDescription) -> Schema:
        return self.components.named(f"{described.name}_state", described.state, described.name)

    def _result_schema(self, owner: str, method: MethodDescription) -> Schema:
        if method.result.get("type") == "null":
            return NOTHING
        result = self.components.inline(method.result, owner)
        if result.get("type") == "object" and "title" in result:
            result = self.components.named(str(result["title"]), method.result, owner)
        return result

    def _add_type(self, described: TypeDescription) -> None:
        name = described.name
        self.tags.append(
            {"name": name, "description": described.description} if described.description else {"name": name}
        )
        of_type, of_object = {"get": self._list(name)}, {"get": self._get(described)}
        if described.create == "anyone":  # operations that every caller is denied are left out
            of_type["post"] = self._create(described)
            of_object["put"] = self._put(described)
        if described.delete == "anyone":
            of_object["delete"] = self._delete(described)
        self.paths[f"/objects/{name}"] = of_type
        self.paths[f"/objects/{name}/{{id}}"] = of_object
        for method_name, method in sorted(described.methods.items()):
            self.paths[f"/objects/{name}/{{id}}/call/{method_name}"] = {
                "post": self._call(name, method),
            }

    def _adopt(self, operation: Mapping[str, Any]) -> Operation:
        """Return an operation of FastAPI with the gate's error responses."""
        responses = {code: answer for code, answer in operation["responses"].items() if code != "422"}
        codes = answers.PAGE_ERRORS + (answers.BODY_ERRORS if "422" in operation["responses"] else ())
        for code, answer in self.errors.of(codes).items():
            responses.setdefault(code, answer)
        return {**operation, "responses": dict(sorted(responses.items()))}

    def _operation(self, type_name: str, verb: str, summary: str, *parameters: str) -> Operation:
        names = (*parameters, "Namespace", "Timeout")
        return {
            "operationId": self._operation_id(type_name, verb),
            "tags": [type_name],
            "summary": summary,
            "parameters": [reference("parameters", name) for name in names],
        }

    def _operation_id(self, type_name: str, verb: str) -> str:
        """Return a short, unique id. A method with the name of an operation of the gate gets a longer one."""
        wanted, number = f"{type_name}_{verb}", 1
        while wanted in self._operation_ids:
            wanted = f"{type_name}_call_{verb}" if number == 1 else f"{type_name}_call_{verb}_{number}"
            number += 1
        self._operation_ids.add(wanted)
        return wanted

    def _list(self, name: str) -> Operation:
        operation = self._operation(name, "list", f"List {name} objects", "Prefix", "Limit", "Cursor")
        content = {"application/json": {"schema": reference("schemas", "ObjectPage")}}
        page = {"description": "Ids and versions, sorted by id.", "headers": success_headers(), "content": content}
        return {**operation, "responses": {"200": page, **self.errors.of(answers.LIST_ERRORS)}}

    def _create(self, described: TypeDescription) -> Operation:
        operation = self._operation(
            described.name, "create", f"Create {with_article(described.name)} with a new id", "IdempotencyKey"
        )
        operation["requestBody"] = self._create_body(described)
        errors = self.errors.of(answers.CREATE_ERRORS, described.create_errors)
        responses = {"201": self._created("The object was created."), **errors}
        return {**operation, "responses": responses}

    def _put(self, described: TypeDescription) -> Operation:
        summary = f"Create {with_article(described.name)} with this id"
        operation = self._operation(
            described.name, "put", summary, "ObjectId", "IdempotencyKey", "IfMatch", "IfNoneMatchAny"
        )
        operation["requestBody"] = self._create_body(described)
        responses = {
            "200": self._created("The object already exists and was created with the same arguments. It is unchanged."),
            "201": self._created("The object was created."),
            **self.errors.of(answers.CREATE_ERRORS, described.create_errors),
        }
        return {**operation, "responses": responses}

    def _get(self, described: TypeDescription) -> Operation:
        name = described.name
        operation = self._operation(
            name, "get", f"Read the state of {with_article(name)}", "ObjectId", "IfMatch", "IfNoneMatchVersion"
        )
        schema = self._state_schema(described)
        headers = success_headers("ETag", "GoVerse-Commit-Seq")
        state = {"description": "The state.", "headers": headers, "content": self._json(schema)}
        unchanged = {"description": "The state still has a tag in If-None-Match.", "headers": headers}
        return {
            **operation,
            "responses": {"200": state, "304": unchanged, **self.errors.of(answers.READ_ERRORS)},
        }

    def _delete(self, described: TypeDescription) -> Operation:
        name = described.name
        operation = self._operation(
            name, "delete", f"Delete {with_article(name)}", "ObjectId", "IdempotencyKey", "IfMatch"
        )
        headers = success_headers("GoVerse-Commit-Seq", "Idempotency-Replayed")
        deleted = {"description": "The object is deleted and the deletion is durable.", "headers": headers}
        return {
            **operation,
            "responses": {"204": deleted, **self.errors.of(answers.DELETE_ERRORS, described.delete_errors)},
        }

    def _call(self, type_name: str, method: MethodDescription) -> Operation:
        owner = f"{type_name}_{method.name}"
        summary = method.summary or f"Call {method.name}"
        parameters = ("ObjectId", "IdempotencyKey", "IfMatch", "Prefer", "Delay")
        operation = self._operation(type_name, method.name, summary, *parameters)
        if method.description:
            operation["description"] = method.description
        if method.readonly:
            operation["x-goverse-readonly"] = True
        arguments = self.components.named(f"{owner}_arguments", method.arguments, owner, sent=True)
        operation["requestBody"] = self._body(arguments, required=bool(method.arguments.get("required")))
        result = self._result_schema(owner, method)
        headers = success_headers("ETag", "GoVerse-Commit-Seq", "Idempotency-Replayed")
        success = {"description": "The result.", "headers": headers, "content": self._json(result)}
        responses = {"200": success, "202": reference("responses", calls.ACCEPTED)}
        return {
            **operation,
            "responses": {**responses, **self.errors.of(answers.CALL_ERRORS, method.errors)},
        }

    def _create_body(self, described: TypeDescription) -> dict[str, Any]:
        arguments = described.create_arguments
        schema = self.components.named(f"{described.name}_create_arguments", arguments, described.name, sent=True)
        return self._body(schema, required=bool(arguments.get("required")))

    def _body(self, schema: Schema, *, required: bool) -> dict[str, Any]:
        description = (
            "The arguments." if required else "The arguments. No body, `null` and `{}` all mean: no arguments."
        )
        return {"required": required, "description": description, "content": self._json(schema)}

    def _created(self, description: str) -> dict[str, Any]:
        headers = success_headers("ETag", "GoVerse-Commit-Seq", "Idempotency-Replayed", "Location")
        return {
            "description": description,
            "headers": headers,
            "content": self._json(reference("schemas", "ObjectSummary")),
        }

    def _json(self, schema: Schema) -> dict[str, Any]:
        content: dict[str, Any] = {"schema": schema}
        with suppress(NoExample):
            content["example"] = example_of(schema, self.components)
        return {"application/json": content}


def _schemas_of(routes: Mapping[str, Any]) -> dict[str, Schema]:
    """Return the schemas of FastAPI's document, without those of errors that the gate does not send."""
    theirs = routes.get("components", {}).get("schemas", {})
    return {name: theirs[name] for name in theirs if name not in _FASTAPI_ERRORS}


def with_article(name: str) -> str:
    """Return the name of a type with its article: an Auction, a User."""
    lower = name.lower()
    vowel = lower.startswith(("a", "e", "i", "o", "u", "hour", "honest", "heir"))
    return (
        f"an {name}"
        if vowel and not lower.startswith(("eu", "one", "once", "uni", "use", "usu", "uti", "ubi"))
        else f"a {name}"
    )
