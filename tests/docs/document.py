"""A parser that turns a Markdown page into the steps that its reader carries out, in order.

* A fenced block `console` has commands behind `$ ` (continued behind `> ` or after a final backslash), and under each
  the output that the reader will see. `...` stands for any text, within a line or as whole lines.
* A fenced block `bash` is a script: it must succeed, and its output is not compared.
* `sh`, `shell` and `zsh` are refused, so that every command is run. All other blocks are prose.
* A comment in the lines before a block controls it: `<!-- run: background -->` keeps it running (the page continues
  once its output has appeared), `<!-- run: skip REASON -->` skips it, `<!-- run: exit N -->` expects that exit status,
  `<!-- run: file NAME -->` saves the block, in any language, as a file.
* `<!-- run: interrupt -->` and `<!-- run: kill -->` have no block: Ctrl-C or kill -9 for the newest background command.
"""

import re
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import NamedTuple


class DocumentError(Exception):
    """An invalid page. The message names the page and the line."""


class Mode(Enum):
    RUN = "run"
    BACKGROUND = "background"
    SKIP = "skip"
    EXIT = "exit"
    FILE = "file"
    INTERRUPT = "interrupt"
    KILL = "kill"


ALONE = {Mode.INTERRUPT, Mode.KILL}
WITH_ARGUMENT = {Mode.SKIP, Mode.EXIT, Mode.FILE}
REFUSED_LANGUAGES = {"sh", "shell", "zsh", "shell-session"}

_OPENING = re.compile(r"^(?P<indent>\s*)(?P<fence>`{3,}|~{3,})\s*(?P<language>[\w-]*)")
_DIRECTIVE = re.compile(r"^\s*<!--\s*run:\s*(?P<mode>\S+)(?:\s+(?P<argument>.*?))?\s*-->\s*$")


class Directive(NamedTuple):
    mode: Mode
    argument: str
    line: int


RUN = Directive(Mode.RUN, "", 0)


@dataclass(frozen=True)
class Command:
    """A command and the output that the page shows under it. Output is compared only if the page shows some."""

    line: int
    text: str
    output: list[str]


@dataclass(frozen=True)
class Step:
    line: int
    mode: Mode
    argument: str = ""
    commands: list[Command] = field(default_factory=list[Command])
    content: str = ""


def read_document(path: Path) -> list[Step]:
    """Parse a page into its steps."""
    return _Reader(path.name, path.read_text(encoding="utf-8").splitlines()).steps()


class _Reader:
    def __init__(self, name: str, lines: list[str]) -> None:
        self._name = name
        self._lines = lines
        self._at = 0

    def steps(self) -> list[Step]:
        found: list[Step] = []
        pending: Directive | None = None
        while self._at < len(self._lines):
            line = self._lines[self._at]
            number = self._at + 1
            self._at += 1
            if directive := self._directive(line, number):
                if pending:
                    raise self._error(pending.line, "this directive has no block")
                if directive.mode in ALONE:
                    found.append(Step(number, directive.mode))
                else:
                    pending = directive
            elif opening := _OPENING.match(line):
                found.extend(self._block(opening, number, pending or RUN))
                pending = None
            elif pending and line.strip() and not line.lstrip().startswith("<!--"):
                raise self._error(pending.line, "this directive is not followed by a block")
        if pending:
            raise self._error(pending.line, "this directive has no block")
        return found

    def _directive(self, line: str, number: int) -> Directive | None:
        match = _DIRECTIVE.match(line)
        if not match:
            return None
        argument = match["argument"] or ""
        known = {mode.value for mode in Mode} - {Mode.RUN.value}
        if match["mode"] not in known:
            raise self._error(number, f"unknown directive {match['mode']!r}")
        mode = Mode(match["mode"])
        if bool(argument) != (mode in WITH_ARGUMENT):
            raise self._error(number, f"{mode.value!r} takes {'an' if mode in WITH_ARGUMENT else 'no'} argument")
        if mode is Mode.EXIT and not argument.isdecimal():
            raise self._error(number, "'exit' takes a number")
        return Directive(mode, argument, number)

    def _block(self, opening: re.Match[str], number: int, directive: Directive) -> list[Step]:
        body = self._body(opening, number)
        language = opening["language"]
        mode, argument, _ = directive
        if mode is Mode.FILE:
            return [Step(number, mode, argument, content="".join(f"{line}\n" for line in body))]
        if language in REFUSED_LANGUAGES:
            raise self._error(number, f"a block of commands must be `console` or `bash`, not `{language}`")
        if language not in {"console", "bash"}:
            if directive is not RUN:
                raise self._error(number, f"'{mode.value}' needs a block of commands, not `{language}`")
            return []
        if mode is Mode.SKIP:
            return [Step(number, mode, argument)]
        script = language == "bash"
        commands = [Command(number + 1, "\n".join(body), [])] if script else self._commands(body, number)
        self._validate(mode, commands, number)
        return [Step(number, mode, argument, commands)]

    def _body(self, opening: re.Match[str], number: int) -> list[str]:
        closing = re.compile(rf"^\s*{opening['fence'][0]}{{{len(opening['fence'])},}}\s*$")
        body: list[str] = []
        while self._at < len(self._lines):
            line = self._lines[self._at]
            self._at += 1
            if closing.match(line):
                return body
            body.append(line.removeprefix(opening["indent"]))
        raise self._error(number, "this block is never closed")

    def _commands(self, body: list[str], number: int) -> list[Command]:
        found: list[Command] = []
        for line_number, line in enumerate(body, start=number + 1):
            if line.startswith("$ "):
                found.append(Command(line_number, line[2:], []))
                continue
            if not found:
                raise self._error(line_number, "output before the first command")
            last = found[-1]
            if not last.output and (line.startswith("> ") or last.text.endswith("\\")):
                found[-1] = Command(last.line, f"{last.text}\n{line.removeprefix('> ')}", [])
            else:
                found[-1] = Command(last.line, last.text, [*last.output, line])
        if not found:
            raise self._error(number, "a `console` block needs at least one command")
        return found

    def _validate(self, mode: Mode, commands: list[Command], number: int) -> None:
        if mode is not Mode.RUN and len(commands) != 1:
            raise self._error(number, f"'{mode.value}' needs a block with exactly one command")
        if mode is Mode.BACKGROUND and not any(line.strip(". ") for line in commands[0].output):
            raise self._error(number, "a background command needs output that shows it is ready")

    def _error(self, number: int, message: str) -> DocumentError:
        return DocumentError(f"{self._name}:{number}: {message}")
