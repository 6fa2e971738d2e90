"""Clients that openapi-generator generates from the document compile and can call a live gate.

The generator is a third-party program with its own interpretation of OpenAPI 3.1, so a valid document may not work with
it. The application contains what caused problems: results of `None`, optional results, enums, tuples, custom errors.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cli.processes import Dev, application, dev
from tests.tree import ROOT

pytestmark = [pytest.mark.deploy, pytest.mark.requirement("GATE-1", "GATE-2")]

TOOLS = ROOT / os.environ.get("CHAIN_TOOLS", ".chain-tools") / "bin"
TYPESCRIPT = ROOT / "openapi" / "typescript"
APP = '''
from datetime import timedelta
from decimal import Decimal
from enum import Enum, IntEnum

from pydantic import BaseModel

from goverse import BusinessError, Object, call


class Size(Enum):
    SMALL = "small"
    LARGE = "large"


class Seat(IntEnum):
    FIRST = 1
    SECOND = 2


class SoldOut(BusinessError):
    """Nothing is left."""

    status = 409
    code = "sold_out"


class Item(BaseModel):
    name: str
    price: Decimal = Decimal("1.50")
    size: Size = Size.SMALL
    tags: list[str] = []


class Shop(Object):
    items: dict[str, Item] = {}
    seats: dict[Seat, str] = {}
    place: tuple[int, str] = (0, "")
    wait: timedelta = timedelta(0)

    def on_create(self, owner: str = "nobody", items: list[Item] = []) -> None:
        self.items = {item.name: item for item in items}

    @call
    async def add(self, item: Item, count: int = 1) -> Item:
        self.items[item.name] = item
        return item

    @call
    async def clear(self) -> None:
        self.items = {}

    @call(readonly=True)
    async def find(self, name: str) -> Item | None:
        return self.items.get(name)

    @call(readonly=True)
    async def sizes(self, only: Size | None = None) -> dict[str, Size]:
        return {item.name: item.size for item in self.items.values() if only in (None, item.size)}

    @call
    async def seat(self, seat: Seat, name: str) -> dict[Seat, str]:
        self.seats[seat] = name
        return self.seats

    @call
    async def move(self, place: tuple[int, str], wait: timedelta) -> tuple[int, str]:
        self.place, self.wait = place, wait
        return place

    @call(raises=(SoldOut,))
    async def buy(self) -> int:
        raise SoldOut("Nothing is left.", left=0)
'''
PYTHON = """
import json, sys
import openapi_client
from openapi_client.exceptions import ApiException

shop = openapi_client.ShopApi(openapi_client.ApiClient(openapi_client.Configuration(host=sys.argv[1])))
out = []
out.append(shop.shop_put("s", shop_create_arguments={"owner": "ann"}).version)
item = shop.shop_add("s", {"item": {"name": "lamp", "size": "large"}})
out.append([item.name, item.size, item.tags])
out.append(shop.shop_find("s", {"name": "lamp"}).name)
out.append(shop.shop_sizes("s"))
out.append(shop.shop_clear("s"))
out.append(shop.shop_find("s", {"name": "lamp"}))
out.append(shop.shop_seat("s", {"seat": 2, "name": "ann"}))
out.append(shop.shop_move("s", {"place": [3, "left"], "wait": "PT5M"}))
try:
    shop.shop_buy("s")
except ApiException as refused:
    out.append([refused.status, json.loads(refused.body)["code"], json.loads(refused.body)["left"]])
print(json.dumps(out, default=lambda value: getattr(value, "actual_instance", str(value))))
"""
TYPESCRIPT_USE = """
import { Configuration, ShopApi } from "./index";

async function main(): Promise<void> {
const shop = new ShopApi(new Configuration({ basePath: process.argv[2] }));
const out: unknown[] = [];
const item = { name: "lamp", size: "large" } as any;
out.push((await shop.shopPut({ id: "t", shopCreateArguments: { owner: "ann" } as any })).version);
const added = await shop.shopAdd({ id: "t", shopAddArguments: { item } as any });
out.push([added.name, added.size, added.tags]);
out.push((await shop.shopFind({ id: "t", shopFindArguments: { name: "lamp" } as any }))?.name);
out.push(await shop.shopSizes({ id: "t" }));
out.push(await shop.shopClear({ id: "t" }));
out.push((await shop.shopFind({ id: "t", shopFindArguments: { name: "lamp" } as any })) ?? null);
out.push(await shop.shopSeat({ id: "t", shopSeatArguments: { seat: 2, name: "ann" } as any }));
out.push(await shop.shopMove({ id: "t", shopMoveArguments: { place: [3, "left"], wait: "PT5M" } as any }));
try {
  await shop.shopBuy({ id: "t" });
} catch (refused: any) {
  const problem = await refused.response.json();
  out.push([refused.response.status, problem.code, problem.left]);
}
console.log(JSON.stringify(out));
}
void main();
"""
TSCONFIG = {
    "compilerOptions": {
        "target": "es2022",
        "module": "commonjs",
        "moduleResolution": "node10",
        "strict": True,
        "skipLibCheck": True,
        "lib": ["es2022", "dom"],
        "types": [],
        "outDir": "dist",
    },
    "include": ["**/*.ts"],
}
EXPECTED = [
    1,
    ["lamp", "large", []],
    "lamp",
    {"lamp": "large"},
    None,
    None,
    {"2": "ann"},
    [3, "left"],
    [409, "sold_out", 0],
]


def _run(*command: str | Path, cwd: Path, **more: str) -> str:
    environ = {**os.environ, **more}
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    folder = tmp_path_factory.mktemp("served")
    application(folder, APP)
    with dev(folder, "app.py", "--no-reload") as running:
        yield running


def _generated(kind: str, server: Dev, folder: Path) -> Path:
    document, out = folder / "openapi.json", folder / kind
    _run(TOOLS / "python", "-c", _FETCH, f"{server.url}/openapi.json", document, cwd=folder)
    _run(TOOLS / "openapi-generator-cli", "generate", "-g", kind, "-i", document, "-o", out, cwd=folder)
    return out


_FETCH = "import sys, urllib.request as u, pathlib as p; p.Path(sys.argv[2]).write_bytes(u.urlopen(sys.argv[1]).read())"


def test_the_python_client_is_imported_whole_and_calls(server: Dev, tmp_path: Path) -> None:
    folder = _generated("python", server, tmp_path)
    modules = (
        "import pkgutil, importlib, openapi_client as c; "
        "[importlib.import_module(m.name) for m in pkgutil.walk_packages(c.__path__, 'openapi_client.')]"
    )
    _run(TOOLS / "python", "-c", modules, cwd=folder)
    (folder / "use.py").write_text(PYTHON, encoding="utf-8")

    assert json.loads(_run(TOOLS / "python", "use.py", server.url, cwd=folder)) == EXPECTED


def test_the_typescript_client_compiles_and_calls(server: Dev, tmp_path: Path) -> None:
    folder = _generated("typescript-fetch", server, tmp_path)
    (folder / "tsconfig.json").write_text(json.dumps(TSCONFIG), encoding="utf-8")
    (folder / "use.ts").write_text("declare const process: { argv: string[] };\n" + TYPESCRIPT_USE, encoding="utf-8")
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("package.json", "package-lock.json"):
        (tools / name).write_bytes((TYPESCRIPT / name).read_bytes())
    _run("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--silent", cwd=tools)
    _run(tools / "node_modules" / ".bin" / "tsc", "--project", "tsconfig.json", cwd=folder)

    used = _run("node", "dist/use.js", server.url, cwd=folder)

    assert json.loads(used) == EXPECTED


def test_go_is_written(server: Dev, tmp_path: Path) -> None:
    """No Go compiler is available here. A type `nil` was what once made the Go client fail to compile."""
    folder = _generated("go", server, tmp_path)

    for path in folder.glob("*.go"):
        assert " nil," not in path.read_text(encoding="utf-8").partition("func")[0], path.name
    assert "*Problem) " in (folder / "model_problem.go").read_text(encoding="utf-8")
