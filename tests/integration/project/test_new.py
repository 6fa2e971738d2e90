"""`goverse new`: the new project works unchanged, and existing files are not overwritten."""

import json
import os
import re
import shutil
import signal
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Request, Route, expect, sync_playwright

from benchmarks.ports import free_port
from tests.browser import CHROMIUM, FLAGS
from tests.docs.walkthrough import FOREIGN_VARIABLES
from tests.integration.cli.processes import dev, goverse, until
from tests.tree import ROOT

pytestmark = pytest.mark.requirement("AGT-4")

FILES = {
    ".dockerignore",
    ".gitignore",
    "Dockerfile",
    "Makefile",
    "README.md",
    "pyproject.toml",
    "tests/test_guestbook.py",
    "web/index.html",
    "web/page.js",
    "web_shop/__init__.py",
    "web_shop/guestbook.py",
    "web_shop/py.typed",
}


def terminal() -> dict[str, str]:
    """Return the environment of a user's terminal."""
    return {name: value for name, value in os.environ.items() if not FOREIGN_VARIABLES.fullmatch(name)}


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def make(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["make", *words], cwd=folder, env=terminal(), capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Run `make dev` on a free port; yield its address."""
    port = free_port()
    command = ["make", "dev", f"PORT={port}"]
    with (folder / "dev.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=terminal(),
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            until(lambda: b"serving" in (folder / "dev.log").read_bytes() or process.poll() is not None, "the server")
            assert process.poll() is None, (folder / "dev.log").read_text()
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)


def test_a_new_project_installs_passes_its_checks_and_serves_object_and_page(tmp_path: Path) -> None:
    done = goverse("-o", "json", "new", "web-shop", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    project = tmp_path / "web-shop"
    assert set(json.loads(done.stdout)["files"]) == FILES == files_of(project)

    shown = make(project, "check")
    make(project, "wheel")

    assert "3 passed" in shown
    assert "Success: no issues found in 3 source files" in shown
    assert [path.name for path in (project / "dist").glob("*.whl")] == ["web_shop-0.1.0-py3-none-any.whl"]
    with served(project) as url:
        call = f"{url}/objects/Guestbook/main/call/sign"
        first = httpx.post(call, json={"name": "Ann", "text": "Hello"}, timeout=60)
        second = httpx.post(call, json={"name": "Ann", "text": "Hello"}, timeout=60)
        assert (first.json(), second.status_code, second.json()["code"]) == (1, 409, "already_signed")
        assert "Guest book" in httpx.get(url, timeout=60).text
        assert "javascript" in httpx.get(f"{url}/page.js", timeout=60).headers["content-type"]
    _install_as_the_image_does(project, tmp_path)


def test_another_source_of_goverse_makes_the_installation_out_of_date(tmp_path: Path) -> None:
    goverse("new", "shop", cwd=tmp_path)
    stamp = tmp_path / "shop" / ".venv" / ".installed"
    stamp.parent.mkdir()
    stamp.write_text(f"{ROOT}\n")

    def out_of_date(*words: str) -> bool:
        asked = ["make", "--question", ".venv/.installed", *words]
        return subprocess.run(asked, cwd=tmp_path / "shop", env=terminal(), check=False).returncode == 1

    assert (out_of_date(), out_of_date(f"GOVERSE={ROOT}"), out_of_date("GOVERSE=/nope")) == (False, False, True)
    stamp.write_text("/nope\n")
    assert (out_of_date(), out_of_date("GOVERSE=/nope")) == (True, False)


@pytest.mark.browser
def test_the_page_keeps_its_key_until_a_final_answer_has_come(tmp_path: Path) -> None:
    goverse("new", "shop", cwd=tmp_path)
    keys: list[str | None] = []

    def lose(route: Route, request: Request) -> None:
        keys.append(request.header_value("Idempotency-Key"))
        if len(keys) == 1:
            problem = {"status": 503, "code": "unavailable", "detail": "not now", "retryable": True}
            route.fulfill(status=503, json=problem, content_type="application/problem+json")
        elif len(keys) == 2:
            route.fetch()  # it takes effect, and the proxy loses the answer
            route.fulfill(status=502, body="<h1>Bad gateway</h1>", content_type="text/html")
        else:
            route.continue_()

    with dev(tmp_path / "shop", "shop", "--no-reload", "--web", "web") as server, sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS).new_page()
        page.goto(server.url)
        page.route("**/call/sign", lose)
        page.get_by_label("Name").fill("Ann")
        page.get_by_label("Text").fill("Hello")
        for told in ("not now", "The server answered 502. Try again.", "Thank you."):
            page.get_by_role("button", name="Sign").click()
            expect(page.locator("#message")).to_have_text(told, timeout=60_000)
        expect(page.locator("#entries li")).to_have_text(["Ann: Hello"], timeout=60_000)
        for name, told in (("Ann", "Ann has signed this book before"), ("Ben", "Thank you.")):
            page.get_by_label("Name").fill(name)
            page.get_by_label("Text").fill("Hello again")
            page.get_by_role("button", name="Sign").click()
            expect(page.locator("#message")).to_have_text(told, timeout=60_000)

    assert len(set(keys[:3])) == 1
    assert len(set(keys)) == 3


def _install_as_the_image_does(project: Path, tmp_path: Path) -> None:
    """Carry out the command of the Dockerfile in an environment like that of the node's image, and serve from there."""
    image, tools = tmp_path / "opt-goverse", tmp_path / "tools"
    shutil.copytree(project / ".venv", image, symlinks=True)
    for path in image.glob("lib/python3*/site-packages/*web_shop*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    [command] = re.findall(r"^RUN (.*?[^\\])$", (project / "Dockerfile").read_text(), re.MULTILINE | re.DOTALL)
    for there, here in (("/opt/goverse", image), ("/tools", tools), ("/own", tmp_path / "own")):
        command = command.replace(there, str(here))
    command = command.replace(" /packages", f" {tmp_path / 'packages'}")
    subprocess.run(["bash", "-euc", command], cwd=project, env=terminal(), check=True, timeout=600)

    installed = {path.name.partition("-")[0] for path in (tmp_path / "packages").iterdir()}
    assert installed == {"web_shop"}
    probe = "import goverse, web_shop; print(web_shop.__file__)"
    environment = {**terminal(), "PYTHONPATH": str(tmp_path / "packages")}
    ran = subprocess.run(
        [image / "bin" / "python", "-c", probe],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.startswith(str(tmp_path / "packages"))


def _empty_folder(path: Path) -> None:
    path.mkdir()


def _folder_with_a_file(path: Path) -> None:
    path.mkdir()
    (path / "notes").write_text("mine")


def _file(path: Path) -> None:
    path.write_text("mine")


def _dangling_link(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize(
    ("there", "accepted"),
    [(_empty_folder, True), (_folder_with_a_file, False), (_file, False), (_dangling_link, False)],
)
def test_nothing_is_overwritten(tmp_path: Path, there: Callable[[Path], None], accepted: bool) -> None:
    there(tmp_path / "shop")
    before = files_of(tmp_path)

    done = goverse("new", "shop", cwd=tmp_path)

    assert done.returncode == (0 if accepted else 2)
    assert accepted or ("shop already exists; nothing was written" in done.stderr and files_of(tmp_path) == before)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("Shop", "is not a valid project name"),
        ("2shop", "is not a valid project name"),
        ("../shop", "is not a valid project name"),
        ("my shop", "is not a valid project name"),
        ("shop-", "is not a valid project name"),
        ("läden", "is not a valid project name"),
        ("x" * 41, "is not a valid project name"),
        ("class", "is a Python keyword"),
        ("match", "is a Python keyword"),
        ("json", "standard library"),
        ("web", "is the name of a folder inside the project"),
        ("goverse", "would hide a package that the project installs"),
        ("pydantic", "would hide a package that the project installs"),
        ("pytest-asyncio", "would hide a package that the project installs"),
    ],
)
def test_a_name_that_would_not_work_is_refused(tmp_path: Path, name: str, complaint: str) -> None:
    done = goverse("new", name, cwd=tmp_path)

    assert done.returncode == 2
    assert complaint in done.stderr
    assert "hint:" in done.stderr
    assert not list(tmp_path.iterdir())


def test_it_says_where_goverse_comes_from_and_refuses_what_is_none(tmp_path: Path) -> None:
    wheel = tmp_path / "goverse-1.0-py3-none-any.whl"
    wheel.touch()

    default = goverse("-o", "json", "new", "one", cwd=tmp_path)
    from_wheel = goverse("-o", "json", "new", "two", "--goverse", wheel.name, "--into", str(tmp_path), cwd=tmp_path)
    wrong = goverse("new", "three", "--goverse", str(tmp_path), cwd=tmp_path)
    nowhere = goverse("new", "three", "--into", "missing", cwd=tmp_path)

    assert json.loads(default.stdout)["goverse"] == str(ROOT)
    assert json.loads(from_wheel.stdout)["goverse"] == str(wheel)
    assert f"GOVERSE ?= {wheel}\n" in (tmp_path / "two" / "Makefile").read_text()
    assert (wrong.returncode, nowhere.returncode) == (2, 2)
    assert "is neither a GoVerse wheel nor a GoVerse source folder" in wrong.stderr
    assert "the folder missing does not exist" in nowhere.stderr
    assert not (tmp_path / "three").exists()


def test_no_template_is_left_unfilled(tmp_path: Path) -> None:
    goverse("new", "shop", cwd=tmp_path)

    text = {name: (tmp_path / "shop" / name).read_text() for name in files_of(tmp_path / "shop")}
    assert [
        name for name, content in text.items() if re.search(r"@(project|package|goverse|version|requirement)@", content)
    ] == []
    assert tomllib.loads(text["pyproject.toml"])["project"]["dependencies"] == ["goverse"]
