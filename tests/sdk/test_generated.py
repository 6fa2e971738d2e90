"""The typed client, generated from the committed document: it type-checks, and it works."""

import ast
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from goverse_client import GoVerse
from goverse_client.generate import NotADocument, generate
from goverse_client.inspection import strangers
from tests.integration.cli.processes import dev, environment, goverse
from tests.tree import ROOT, load_module

pytestmark = pytest.mark.requirement("GATE-2")

CLIENT = ROOT / "openapi" / "python"
DOCUMENT = ROOT / "openapi" / "openapi.json"
USE = """
from auction_client import AuctionHouse, AuctionHouseSync


async def use() -> None:
    async with AuctionHouse("http://localhost:8000") as gv:
        by_two: int = await gv.object("Counter", "c1").call("increment", by=2)
        title: str = (await gv.object("Auction", "a").get())["title"]
        free: int = (await gv.object("Wallet", "w").call("deposit", amount=by_two))["free"]
        print(title, free)


def use_sync() -> None:
    with AuctionHouseSync("http://localhost:8000") as gv:
        counter = gv.object("Counter", "c1")
        counter.create()
        value: int = counter.call("increment")
        print(value)
"""
MISUSE = {
    'gv.object("Counter", "c1").call("increment", by="two")': "arg-type",
    'gv.object("Counter", "c1").call("decrement")': "arg-type",
    'gv.object("Wallet", "w").call("deposit")': "call-overload",
    'gv.object("Wallet", "w").call("statement", since=1)': "call-overload",
    'gv.object("Wallett", "w")': "call-overload",
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("generated") / "auction_client.py"
    _write(str(DOCUMENT), "--name", "AuctionHouse", "--out", str(path), cwd=path.parent)
    return path


def _write(*arguments: str, cwd: Path, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "goverse_client", "generate", *arguments],
        env={**environment(), "PYTHONPATH": str(CLIENT)},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def _checked(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    (folder / "use.py").write_text(text, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", str(folder / "cache"), "use.py"],
        env={**environment(), "MYPYPATH": f"{CLIENT}:{folder}"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.requirement("GATE-1")
def test_the_committed_document_is_that_of_the_sample_application() -> None:
    exported = goverse("openapi", "export", "sample-app/auction_house", cwd=ROOT)
    assert exported.stdout == DOCUMENT.read_text(encoding="utf-8"), "write it again: make sdk"


def test_a_type_checker_knows_types_methods_arguments_and_results(written: Path) -> None:
    used = _checked(written.parent, USE)
    assert used.returncode == 0, used.stdout

    wrong = "\n    ".join(MISUSE)
    misused = _checked(
        written.parent,
        f"from auction_client import AuctionHouseSync\n\n\ndef use(gv: AuctionHouseSync) -> None:\n    {wrong}\n",
    )
    found = {
        int(line.split(":")[1]) - 4: line.rpartition("[")[2].rstrip("]")
        for line in misused.stdout.splitlines()
        if ": error:" in line
    }
    assert found == dict(enumerate(MISUSE.values(), 1)), misused.stdout


async def test_it_works_on_a_live_gate_from_its_live_document(tmp_path: Path) -> None:
    with dev(ROOT, "sample-app/auction_house", "--no-reload", "--data-dir", str(tmp_path / "data")) as server:
        path = tmp_path / "live_client.py"
        _write(server.url, "--name", "Shop", "--out", str(path), cwd=tmp_path)
        module = load_module(path)
        async with module.Shop(server.url) as gv:
            wallet = gv.object("Wallet", "ann")
            assert await wallet.call("deposit", amount=500) == {"balance": 500, "held": 0, "free": 500}
            assert (await wallet.get())["balance_cents"] == 500
            auction = gv.object("Auction", "a1")
            assert (await auction.create_new(title="Lamp", seller="bob")).version == 1
            assert (await auction.call("bid", bidder="ann", amount=300))["amount"] == 300
            assert (await wallet.with_options(timeout_s=5).call("statement"))["held"] == 300
            with pytest.raises(ValueError, match="unknown object type 'Nope'"):
                gv.object("Nope", "x")
        with module.ShopSync(server.url) as gv:
            assert gv.object("Counter", "c").call("increment", by=3) == 3
        async with GoVerse(server.url) as plain:
            assert await plain.object("Counter", "c").call("increment") == 4


def _document(**paths: Any) -> dict[str, Any]:
    return {"openapi": "3.1.0", "paths": paths}


def _typed(result: dict[str, Any], arguments: dict[str, Any], schemas: dict[str, Any] | None = None) -> dict[str, Any]:
    def ok(schema: dict[str, Any]) -> dict[str, Any]:
        return {"200": {"content": {"application/json": {"schema": schema}}}}

    body = {"content": {"application/json": {"schema": arguments}}}
    return {
        "openapi": "3.1.0",
        "paths": {
            "/objects/Thing/{id}": {"get": {"responses": ok({"type": "object"})}, "put": {}},
            "/objects/Thing/{id}/call/do": {"post": {"requestBody": body, "responses": ok(result)}},
        },
        "components": {"schemas": schemas or {}},
    }


def test_a_type_that_clients_cannot_create_has_no_create() -> None:
    document = _typed({"type": "integer"}, {"type": "object"})
    assert "async def create(" in generate(document, "Shop", "a test")
    del document["paths"]["/objects/Thing/{id}"]["put"]
    text = generate(document, "Shop", "a test")
    ast.parse(text)
    assert "create" not in text


def test_colliding_names_and_members_named_like_schema_keywords_work() -> None:
    schemas = {
        "Reply": {
            "type": "object",
            "properties": {"title": {"type": "string"}, "next": {"$ref": "#/components/schemas/Reply"}},
        },
        "Thing_do": {"type": "object", "properties": {"class": {"type": "integer"}}, "required": ["class"]},
        "ThingDo": {"type": "object", "properties": {"additionalProperties": {"type": "boolean"}}},
    }
    arguments = {
        "type": "object",
        "properties": {
            "one": {"$ref": "#/components/schemas/Thing_do"},
            "two": {"$ref": "#/components/schemas/ThingDo"},
        },
    }
    text = generate(_typed({"$ref": "#/components/schemas/Reply"}, arguments, schemas), "Shop", "a test")
    ast.parse(text)
    for part in ("class Reply2(", "title: NotRequired[str]", "'class': int", "additionalProperties: NotRequired[bool]"):
        assert part in text
    assert "class ThingDo2(" in text


@pytest.mark.parametrize(
    ("schema", "written"),
    [
        ({"type": "string", "format": "duration"}, "str"),
        ({"type": "string", "format": "date-time"}, "str"),
        ({"type": "string", "format": "uuid"}, "str"),
        ({"type": "string", "format": "binary", "contentEncoding": "base64"}, "str"),
        ({"type": "array", "items": {"type": "integer"}, "uniqueItems": True}, "list[int]"),
        (
            {"type": "array", "prefixItems": [{"type": "integer"}] * 2, "minItems": 2, "maxItems": 2},
            "list[int]",
        ),
        ({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]}, "list[int | str]"),
        (
            {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": {}, "maxItems": 2},
            "list[int | str]",
        ),
        (
            {"type": "array", "prefixItems": [{"type": "string", "format": "duration"}], "items": {"type": "boolean"}},
            "list[str | bool]",
        ),
        (
            {"type": "object", "additionalProperties": {"type": "string"}, "propertyNames": {"enum": ["1", "2"]}},
            "dict[str, str]",
        ),
    ],
)
def test_types_are_those_of_json_values(schema: dict[str, Any], written: str) -> None:
    """Strings stay strings and tuples are lists, although the application's class has other types."""
    result = {"type": "object", "properties": {"value": schema}, "required": ["value"]}
    text = generate(_typed(result, {"type": "object", "properties": {"value": schema}}), "Shop", "a test")
    assert f"    value: {written}\n" in text
    assert f"    value: NotRequired[{written}]\n" in text


def test_each_module_is_imported_once() -> None:
    text = generate(_typed({"type": "object", "properties": {"a": {}}}, {"type": "object"}), "Shop", "a test")
    imports = [line.split()[1] for line in text.splitlines() if line.startswith("from ")]
    assert sorted(imports) == sorted(set(imports))


@pytest.mark.parametrize(
    "result", [{}, {"type": "null"}, {"type": "array", "items": {}}, {"enum": ["a", "b"]}, {"const": 1}]
)
def test_results_of_every_form_have_a_type(result: dict[str, Any]) -> None:
    text = generate(_typed(result, {"type": "object"}), "Shop", "a test")
    assert "ThingDoResult" in text
    ast.parse(text)


@pytest.mark.parametrize(
    ("document", "name"), [(_document(), "Shop"), (_typed({}, {}), "class"), (_typed({}, {}), "a b")]
)
def test_an_invalid_document_or_class_name_is_refused(document: dict[str, Any], name: str) -> None:
    with pytest.raises(NotADocument):
        generate(document, name, "a test")


RUN = 'print("run")'


@pytest.mark.parametrize(
    ("type_name", "method", "named"),
    [
        ("Thing", f'm"] = {RUN}, z: Literal["k"] = ["', "method"),
        ("Thing", f"m'] = {RUN}, z: Literal['k'] = ['", "method"),
        ("Thing", "m\n", "method"),
        ("Thing", "größe", "method"),
        (f'T(Handle):\n    """."""\n{RUN}\nclass U', "do", "type"),
        ("T-1", "do", "type"),
    ],
)
def test_names_that_are_not_identifiers_are_refused(type_name: str, method: str, named: str) -> None:
    document = _typed({}, {})
    document["paths"] = {
        path.replace("Thing", type_name).replace("call/do", f"call/{method}"): operations
        for path, operations in document["paths"].items()
    }
    with pytest.raises(NotADocument) as caught:
        generate(document, "Shop", "a test")
    wrong = method if named == "method" else type_name
    assert str(caught.value) == f"{wrong!r} is not a valid {named} name"


@pytest.mark.parametrize(
    "arguments",
    [
        {"type": "object", "properties": {"a": {"type": "string", "x-python-type": "os.system"}}},
        {"type": "object", "properties": {"a": {"type": "string", "x-python-type": "antigravity.geohash"}}},
        {"type": "object", "properties": {"class": {"type": "string", "customTypePath": "os.system"}}},
        {"type": "object", "properties": {"a": {"$ref": "file:///etc/hostname"}}},
        {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/x"}}},
        {"$ref": "/etc/hostname"},
        {"$ref": "#/components/schemas/Missing"},
        {"type": "object", "properties": {"a": {"type": "string", "customTypePath": f"os.x\n{RUN}"}}},
    ],
)
def test_schemas_that_would_run_code_or_be_fetched_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(NotADocument):
        generate(_typed({}, arguments), "Shop", "a test")


def test_text_of_a_document_never_becomes_code(tmp_path: Path) -> None:
    hostile = f'"""\n{RUN}\n"""'
    names = (f"a': {RUN}, 'b", f"a'}})\n{RUN}\n({{'b", f"a\\': {RUN}, 'b", f"a\u2028{RUN}", hostile)
    text = {"type": "string", "description": hostile, "default": hostile, "title": hostile}
    properties = {name: dict(text) for name in names}
    arguments = {"type": "object", "description": hostile, "properties": {**properties, "b": {"enum": [hostile, "\\"]}}}
    module = tmp_path / "hostile_client.py"
    module.write_text(generate(_typed({"const": hostile}, arguments), "Shop", f"x{hostile}\\"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(module)], env={"PYTHONPATH": str(CLIENT)}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    "text",
    [
        *("import os", "from os import system", "from .os import system", "print()", "def a(): pass"),
        *("class A(TypedDict):\n    print()", "class A(TypedDict):\n    a: int = print()", "@a\nclass A: pass"),
        *("class A(f()): pass", "class A(metaclass=f()): pass", "A = TypedDict('A', {'a': print()})", "A = print"),
        *("A: int = print()", "A: f() = 1", "A: T = [x for x in y]", "A: T = lambda: 1"),
    ],
)
def test_statements_other_than_types_are_found(text: str) -> None:
    assert len(list(strangers(text))) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "is not valid JSON"), ("[]", "is not an OpenAPI document"), (json.dumps(_document()), "no object types")],
)
def test_errors_of_the_command(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "document.json").write_text(text)
    error = _write("document.json", "--name", "Shop", cwd=tmp_path, code=1)
    assert error.startswith("error: ")
    assert said in error
    assert "Traceback" not in error


def test_the_synchronous_client_is_up_to_date() -> None:
    module = load_module(CLIENT / "make_sync.py")
    source = (CLIENT / "goverse_client" / "client.py").read_text(encoding="utf-8")
    written = (CLIENT / "goverse_client" / "sync.py").read_text(encoding="utf-8")
    assert module.synchronous(source) == written, "write it again: make sdk"


def test_its_wheel_holds_the_package_and_nothing_else(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=CLIENT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.iterdir()
    with zipfile.ZipFile(wheel) as opened:
        names = {name for name in opened.namelist() if ".dist-info/" not in name}
    package = CLIENT / "goverse_client"
    assert names == {f"goverse_client/{path.name}" for path in package.iterdir() if path.name != "__pycache__"}
