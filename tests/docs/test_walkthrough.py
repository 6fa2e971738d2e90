"""A walk through a page runs it as written and stops at the first difference."""

import sys
from pathlib import Path

import pytest

from tests.docs.walkthrough import WalkthroughError, walk_through

SERVER = """import http.server
server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
with open("port", "w") as file:
    file.write(str(server.server_port))
try:
    print(f"listening on {server.server_port}", flush=True)
    server.serve_forever()
except KeyboardInterrupt:
    with open("goodbye", "w") as file:
        file.write("said")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "reader"
    folder.mkdir()
    return folder


def _page(folder: Path, text: str) -> Path:
    page = folder.parent / "page.md"
    page.write_text(text, encoding="utf-8")
    return page


def test_the_shell_remembers_what_earlier_blocks_did(folder: Path) -> None:
    page = _page(
        folder,
        "```bash\nmkdir inner\ncd inner\nexport NAME=value\n```\n"
        "```console\n$ basename $PWD; echo $NAME; cat\ninner\nvalue\n```\n",
    )

    assert len(walk_through(page, folder)) == 2


def test_a_difference_names_the_line_and_both_sides(folder: Path) -> None:
    page = _page(folder, "\n```console\n$ echo one\ntwo\n```\n")

    with pytest.raises(WalkthroughError) as caught:
        walk_through(page, folder)

    assert str(caught.value) == "page.md:3: `echo one`\nthe page shows:\ntwo\nit printed:\none\n"


@pytest.mark.parametrize(
    "text",
    [
        "```console\n$ false\n```\n",
        "```bash\nexit 0\n```\n",
        "<!-- run: exit 3 -->\n```console\n$ true\n```\n",
        "<!-- run: background -->\n```console\n$ echo no\nready\n```\n",
        "<!-- run: interrupt -->\n",
        "<!-- run: file ../outside -->\n```text\nx\n```\n",
    ],
)
def test_a_step_that_fails_stops_the_page(folder: Path, text: str) -> None:
    page = _page(folder, text + "```bash\ntouch reached\n```\n")

    with pytest.raises(WalkthroughError):
        walk_through(page, folder)

    assert not (folder / "reached").exists()


def test_a_command_that_does_not_end_is_stopped(folder: Path) -> None:
    page = _page(folder, "```console\n$ tail -f /dev/null\n```\n")

    with pytest.raises(WalkthroughError, match="did not end within"):
        walk_through(page, folder, timeout_s=0.2)


def test_an_expected_failure_and_a_skip_are_fine(folder: Path) -> None:
    page = _page(
        folder,
        "<!-- run: exit 1 -->\n```console\n$ cat missing\n... No such file or directory\n```\n"
        "<!-- run: skip needs a desk -->\n```console\n$ touch skipped\n```\n",
    )

    walk_through(page, folder)

    assert not (folder / "skipped").exists()


def test_commands_and_output_are_adapted_alike(folder: Path) -> None:
    page = _page(folder, "```console\n$ echo port 8000\nport 8000\n```\n")

    with pytest.raises(WalkthroughError, match="8000"):
        walk_through(page, folder, adapt=lambda text: text.replace("echo port 8000", "echo port 9000"))
    walk_through(page, folder, adapt=lambda text: text.replace("8000", "9000"))


def test_a_server_runs_beside_the_shell_until_it_is_interrupted(folder: Path) -> None:
    background = f"<!-- run: background -->\n```console\n$ {sys.executable} server.py\n...listening on ...\n```\n"
    call = "```console\n$ curl -o /dev/null -w '%{http_code}' localhost:$(cat port)/server.py\n200\n```\n"
    refused = "<!-- run: exit 7 -->\n```console\n$ curl localhost:$(cat port)/\ncurl: (7) ...\n```\n"
    page = _page(
        folder,
        f"<!-- run: file server.py -->\n```python\n{SERVER}```\n"
        f"{background}{call}<!-- run: interrupt -->\n{refused}```bash\nrm goodbye\n```\n"
        f"{background}{call}<!-- run: kill -->\n{refused}```bash\ntest ! -f goodbye\n```\n{background}",
    )

    walk_through(page, folder, timeout_s=60)

    assert (folder / "goodbye").read_text() == "said", "what still runs at the end is stopped"
