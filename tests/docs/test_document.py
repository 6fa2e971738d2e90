"""The parser of pages: it returns the steps, and refuses a page that could hide a command."""

from pathlib import Path

import pytest

from tests.docs.document import Command, DocumentError, Mode, read_document


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return tmp_path / "page.md"


def test_commands_and_their_output(page: Path) -> None:
    page.write_text("# A\n\n```console\n$ echo one\none\n$ cat a \\\n  b\n$ x <<E\n> in\n> E\nin\n```\n")

    (step,) = read_document(page)

    assert step.mode is Mode.RUN
    assert step.commands == [
        Command(4, "echo one", ["one"]),
        Command(6, "cat a \\\n  b", []),
        Command(8, "x <<E\nin\nE", ["in"]),
    ]


def test_a_script_and_prose(page: Path) -> None:
    page.write_text("```bash\ncd a\nls\n```\n\n```text\n$ not run\n```\n\n```python\nrun()\n```\n")

    (step,) = read_document(page)

    assert step.commands == [Command(2, "cd a\nls", [])]


def test_a_block_inside_a_list_loses_its_indentation(page: Path) -> None:
    page.write_text("1. Do:\n\n   ```console\n   $ echo one\n   one\n   ```\n")

    (step,) = read_document(page)

    assert step.commands == [Command(4, "echo one", ["one"])]


def test_directives(page: Path) -> None:
    page.write_text(
        "<!-- run: background -->\n```console\n$ serve\nready\n```\n"
        "<!-- run: skip needs a desk -->\n\n```console\n$ open page\n```\n"
        "<!-- run: exit 2 -->\n```console\n$ false\n```\n"
        "<!-- run: file a/b.py -->\n```python\nx = 1\n```\n"
        "<!-- run: interrupt -->\n<!-- run: kill -->\n"
    )

    steps = read_document(page)

    assert [(step.mode, step.argument) for step in steps] == [
        (Mode.BACKGROUND, ""),
        (Mode.SKIP, "needs a desk"),
        (Mode.EXIT, "2"),
        (Mode.FILE, "a/b.py"),
        (Mode.INTERRUPT, ""),
        (Mode.KILL, ""),
    ]
    assert steps[3].content == "x = 1\n"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("```sh\nls\n```\n", "page.md:1: a block of commands must be `console` or `bash`, not `sh`"),
        ("```console\nls\n```\n", "page.md:2: output before the first command"),
        ("```console\n```\n", "page.md:1: a `console` block needs at least one command"),
        ("```console\n$ ls\n", "page.md:1: this block is never closed"),
        ("<!-- run: later -->\n", "page.md:1: unknown directive 'later'"),
        ("<!-- run: skip -->\n", "page.md:1: 'skip' takes an argument"),
        ("<!-- run: kill it -->\n", "page.md:1: 'kill' takes no argument"),
        ("<!-- run: exit now -->\n", "page.md:1: 'exit' takes a number"),
        ("<!-- run: background -->\n", "page.md:1: this directive has no block"),
        ("<!-- run: background -->\nProse.\n", "page.md:1: this directive is not followed by a block"),
        (
            "<!-- run: background -->\n```console\n$ serve\n...\n```\n",
            "page.md:2: a background command needs output that shows it is ready",
        ),
        (
            "<!-- run: exit 1 -->\n```console\n$ a\n$ b\n```\n",
            "page.md:2: 'exit' needs a block with exactly one command",
        ),
        (
            "<!-- run: skip it -->\n```text\na\n```\n",
            "page.md:2: 'skip' needs a block of commands, not `text`",
        ),
    ],
)
def test_a_page_that_cannot_be_carried_out_is_refused(page: Path, text: str, fault: str) -> None:
    page.write_text(text)

    with pytest.raises(DocumentError) as caught:
        read_document(page)

    assert str(caught.value) == fault
