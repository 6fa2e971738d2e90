"""Check the prose of the repository against the word list in ``scripts/prose.toml``.

    scripts/prose.py [FILE ...]     all files of the repository without FILE

Reads comments and strings of Python code, and the text of other files. Prints one line per finding, with the words to
write instead, and exits with 1 if there are any. A word that is a value (``create="nobody"``) is quoted or a code span,
and both are skipped.
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


def _blank(match: re.Match[str]) -> str:
    """Replace a match by as many lines."""
    return "\n" * match[0].count("\n")


def findings(path: Path, rules: Rules) -> list[Finding]:
    """Return what ``path`` breaks; nothing for a file that is not text."""
    content = path.read_bytes()
    if b"\0" in content:
        return []
    text = content.decode()
    return sorted(rules.in_code(text) if path.suffix == ".py" else rules.in_text(text))


def _repository_files(rules: Rules) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    names = [name for name in listed.split("\0") if name and not name.startswith(rules.skip) and "_pb2" not in name]
    return [path for name in names if (path := ROOT / name).is_file()]


def main(arguments: Sequence[str]) -> int:
    """Check the named files, or all; return the exit code."""
    if any(argument.startswith("-") for argument in arguments):
        print(__doc__)
        return 0 if set(arguments) <= {"-h", "--help"} else 2
    rules = Rules(tomllib.loads(RULES.read_text(encoding="utf-8")))
    paths = [Path(argument).resolve() for argument in arguments] or _repository_files(rules)
    count = 0
    for path in paths:
        shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
        for finding in findings(path, rules):
            print(f"{shown}:{finding.line}: {finding.word!r}: {finding.instead}")
            count += 1
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
