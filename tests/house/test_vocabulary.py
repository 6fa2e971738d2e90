"""No file mentions machines or tools of its authors, and no file has unfinished work.

Patterns are put together from pieces so that this file does not match itself.
"""

import re

import pytest

from tests.tree import repository_files, shown

FOREIGN = {
    "an absolute path of one machine": "|".join(["(?<![\\w.])/" + "work/", "/tmp/" + "venv", "(?<!\\w)/" + "root/"]),
    "the host of a package registry": "|".join(
        [
            "pypi" + r"\.org",
            "python" + r"hosted\.org",
            "registry\\.npm" + r"js\.org",
            "deb\\.debian" + r"\.org",
        ]
    ),
    "a loose end": "|".join(["\\bTO" + "DO\\b", "\\bFIX" + "ME\\b", "\\bX" + "XX\\b"]),
    "an ignored failure": r"\|\|" + r"\s*(true|:)(\s|$)",
    "an unresolved merge conflict": "^(<" + "<<<<<< |>" + ">>>>>> )",
}


def _texts() -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for path in repository_files():
        content = path.read_bytes()
        if b"\0" not in content:
            found.append((shown(path), content.decode("utf-8")))
    return found


@pytest.mark.parametrize("kind", FOREIGN)
def test_no_file_holds(kind: str) -> None:
    pattern = re.compile(FOREIGN[kind], re.MULTILINE)
    found = [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]}"
        for name, text in _texts()
        for match in pattern.finditer(text)
    ]

    assert found == []
