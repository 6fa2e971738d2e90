"""The TypeScript client: built, type-checked with the committed document, run in Node and in a browser."""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from tests.browser import CHROMIUM, FLAGS
from tests.integration.cli.processes import Dev, application, dev
from tests.sdk.test_live import APP
from tests.tree import ROOT

pytestmark = [pytest.mark.requirement("GATE-2")]

CLIENT = ROOT / "openapi" / "typescript"
TESTS = Path(__file__).parent / "typescript"
PAGE = """<!doctype html>
<title>client</title>
<script type="module">
  import {{ GoVerse, BusinessError }} from "/client/index.js";
  const account = new GoVerse(location.origin).object("Account", "from a page");
  const out = [];
  out.push(await account.call("add", {{ amount: 2 }}));
  const reply = await account.withOptions({{ idempotencyKey: "k" }}).callReply("add", {{ amount: 3 }});
  out.push(reply.value, reply.version, String(reply.commitSeq > 0n));
  try {{ await account.call("add", {{ amount: -100 }}); }}
  catch (error) {{ out.push(error instanceof BusinessError ? error.code : String(error)); }}
  document.title = JSON.stringify(out);
</script>
"""


KEYLESS_PAGE = """<!doctype html>
<title>client</title>
<script type="module">
  import { GoVerse } from "/client/index.js";
  const object = new GoVerse(location.origin, { makeKeys: false }).object("Account", "a");
  const out = [];
  for (const method of ["first", "second"]) out.push(await object.call(method).catch(String));
  document.title = JSON.stringify(out);
</script>
"""


class Breaking(ThreadingHTTPServer):
    """A server of a page and the client. It breaks the connection at the first call of ``second``."""

    daemon_threads = True

    def __init__(self, client: Path) -> None:
        self.client = client
        self.keys: list[str | None] = []
        super().__init__(("127.0.0.1", 0), _Answering)


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def _breaking(self) -> Breaking:
        assert isinstance(self.server, Breaking)
        return self.server

    def do_GET(self) -> None:
        if self.path.startswith("/client/"):
            self._answer("text/javascript", (self._breaking.client / Path(self.path).name).read_bytes())
        else:
            self._answer("text/html", KEYLESS_PAGE.encode())

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        if self.path.endswith("/second"):
            self._breaking.keys.append(self.headers["idempotency-key"])
            if len(self._breaking.keys) == 1:
                self.close_connection = True
                return
        self._answer("application/json", b"2" if self._breaking.keys else b"1")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name in the base class
        """Log nothing."""

    def _answer(self, kind: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _run(*command: str, cwd: Path, **more: str) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False, env=more or None)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the package, as it would be published, beside the tests."""
    source = tmp_path_factory.mktemp("typescript") / "client"
    shutil.copytree(CLIENT, source, ignore=shutil.ignore_patterns("node_modules", "dist"))
    _run("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", cwd=source)
    _run("npm", "run", "build", cwd=source)
    (packed,) = json.loads(_run("npm", "pack", "--json", "--ignore-scripts", cwd=source))
    assert {Path(each["path"]).suffix for each in packed["files"]} <= {".js", ".ts", ".md", ".json"}
    assert {"dist/index.js", "dist/index.d.ts"} <= {each["path"] for each in packed["files"]}
    user = source.parent / "user"
    package = user / "node_modules" / "@goverse" / "client"
    for each in packed["files"]:
        target = package / each["path"]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / each["path"], target)
    for name in ("live.test.mjs", "typed.ts"):
        shutil.copyfile(TESTS / name, user / name)
    (user / "tools").symlink_to(source / "node_modules")
    return user


@pytest.fixture(scope="module")
def server(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    folder = tmp_path_factory.mktemp("served")
    application(folder, APP)
    web = folder / "web"
    shutil.copytree(built / "node_modules" / "@goverse" / "client" / "dist", web / "client")
    (web / "index.html").write_text(PAGE.format(), encoding="utf-8")
    with dev(folder, "app.py", "--no-reload", "--web", "web") as running:
        yield running


def test_a_type_checker_knows_types_methods_arguments_and_results(built: Path) -> None:
    tools = built / "tools" / ".bin"
    _run(
        str(tools / "openapi-typescript"),
        str(ROOT / "openapi" / "openapi.json"),
        "--default-non-nullable=false",
        "-o",
        "paths.ts",
        cwd=built,
    )
    options = ["--strict", "--noEmit", "--target", "es2022", "--module", "es2022", "--moduleResolution", "bundler"]
    _run(str(tools / "tsc"), *options, "typed.ts", cwd=built)


def test_it_works_in_node_on_a_live_gate(built: Path, server: Dev) -> None:
    node = shutil.which("node")
    assert node is not None
    out = _run(node, "--test", "live.test.mjs", cwd=built, GATE_URL=server.url)
    assert "# fail 0" in out, out
    assert "# skipped 0" in out, out


@pytest.fixture
def breaking(built: Path) -> Iterator[Breaking]:
    server = Breaking(built / "node_modules" / "@goverse" / "client" / "dist")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.browser
def test_a_request_that_a_browser_repeats_has_one_key(breaking: Breaking) -> None:
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS) as browser:
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{breaking.server_address[1]}/")
        page.wait_for_function("document.title.startsWith('[')")
        assert json.loads(page.title()) == [1, 2]
    assert len(breaking.keys) == 2
    assert len(set(breaking.keys)) == 1
    assert breaking.keys[0]


@pytest.mark.browser
def test_it_works_in_a_page(server: Dev) -> None:
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS) as browser:
        page = browser.new_page()
        page.goto(server.url)
        page.wait_for_function("document.title.startsWith('[')")
        assert json.loads(page.title()) == [2, 5, 3, "true", "insufficient_funds"]
