"""Check the prose of the repository against the word list in ``scripts/prose.toml``.

    scripts/prose.py [FILE ...]     all files of the repository without FILE

Reads comments and strings of Python code, and the text of other files. Prints one line per finding, with the words to
write instead, and exits with 1 if there are any. A word that is a value (``create="nobody"``) is quoted or a code span,
and both are skipped. Loose ends and paths of one machine are found anywhere. Modules have names that say something, and
those of the product have a limit of lines.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parent.parent
RULES: Final = Path(__file__).with_suffix(".toml")

_FENCE: Final = re.compile(r"^ *(```|~~~).*?^ *\1", re.DOTALL | re.MULTILINE)
_SPAN: Final = re.compile(r"``[^`]+``|`[^`\n]+`|\"\w+\"|'\w+'|<pre>.*?</pre>", re.DOTALL)
_TEXT: Final = frozenset({tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)})


class Finding(NamedTuple):
    """A place that breaks a rule."""

    line: int
    word: str
    instead: str


class Rules:
    """The word list, compiled."""

    def __init__(self, source: dict[str, Any]) -> None:
        """Compile the tables of ``prose.toml``."""
        self.skip: tuple[str, ...] = tuple(source["files"]["skip"])
        self._instead: list[str] = list(source["words"].values())
        groups = (f"(?P<w{number}>{pattern})" for number, pattern in enumerate(source["words"]))
        self._words = re.compile(rf"(?<![\w-])(?:{'|'.join(groups)})(?![\w-])", re.IGNORECASE)
        self._anywhere = {re.compile(pattern): instead for pattern, instead in source["anywhere"].items()}
        self._empty_names: frozenset[str] = frozenset(source["modules"]["empty_names"])
        self._lines_max: int = source["modules"]["lines_max"]
        self._limited: tuple[str, ...] = tuple(source["modules"]["of"])
        self._longer: dict[str, str] = source["modules"]["longer"]
        self._opening = re.compile(rf"\s*({'|'.join(source['openings']['words'])})\b")

    def in_text(self, text: str, first_line: int = 1) -> Iterator[Finding]:
        """Yield the words in ``text`` that are not to be used; ``first_line`` is the line that it begins on."""
        for skipped in (_FENCE, _SPAN):
            text = skipped.sub(_blank, text)
        for match in self._words.finditer(text):
            number = next(int(name[1:]) for name, found in match.groupdict().items() if found is not None)
            yield Finding(first_line + text.count("\n", 0, match.start()), match[0], self._instead[number])

    def in_code(self, source: str) -> Iterator[Finding]:
        """Yield the findings in the comments and strings of Python code."""
        for token in tokenize.generate_tokens(StringIO(source).readline):
            if token.type in _TEXT:
                text = token.string
                if token.type == tokenize.STRING and not text.endswith(('"""', "'''")):
                    text = text.lstrip("rbufRBUF")[1:-1]
                    if text.isidentifier():
                        continue  # a value, not prose
                yield from self.in_text(text, token.start[0])
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                opening = self._opening.match(ast.get_docstring(node) or "")
                if opening:
                    line = 1 if isinstance(node, ast.Module) else node.body[0].lineno
                    yield Finding(line, opening[1], "begin a docstring with a noun phrase or a verb")

    def in_lines(self, text: str) -> Iterator[Finding]:
        """Yield what no line of any file may hold."""
        for number, line in enumerate(text.split("\n"), 1):
            for pattern, instead in self._anywhere.items():
                if match := pattern.search(line):
                    yield Finding(number, match[0], instead)

    def in_module(self, name: str, text: str) -> Iterator[Finding]:
        """Yield the findings in the name and length of a module; ``name`` is its path."""
        for part in Path(name).with_suffix("").parts[-2:]:
            if not self._empty_names.isdisjoint(part.lower().split("_")):
                yield Finding(1, part, "name a module after what it holds")
        lines, limit = text.count("\n"), self._lines_max
        if name.startswith(self._limited) and lines > limit and name not in self._longer:
            yield Finding(limit, f"{lines} lines", f"split a module of more than {limit} lines")
        elif name in self._longer and lines <= limit:
            yield Finding(1, f"{lines} lines", "remove the module from [modules.longer]")


def _blank(match: re.Match[str]) -> str:
    """Replace a match by as many lines."""
    return "\n" * match[0].count("\n")


def findings(path: Path, rules: Rules) -> list[Finding]:
    """Return what ``path`` breaks; nothing for a file that is not text."""
    content = path.read_bytes()
    if b"\0" in content or path == RULES:
        return []
    text, name = content.decode(), _shown(path)
    found = [*rules.in_lines(text)]
    if path.suffix == ".py" and "_pb2" not in name:
        found += [*rules.in_code(text), *rules.in_module(name, text)]
    elif not name.startswith(rules.skip) and "_pb2" not in name:
        found += rules.in_text(text)
    return sorted(found)


def _shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)


def _repository_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def main(arguments: Sequence[str]) -> int:
    """Check the named files, or all; return the exit code."""
    if any(argument.startswith("-") for argument in arguments):
        print(__doc__)
        return 0 if set(arguments) <= {"-h", "--help"} else 2
    rules = Rules(tomllib.loads(RULES.read_text(encoding="utf-8")))
    paths = [Path(argument).resolve() for argument in arguments] or _repository_files()
    count = 0
    for path in paths:
        for finding in findings(path, rules):
            print(f"{_shown(path)}:{finding.line}: {finding.word!r}: {finding.instead}")
            count += 1
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
