"""``python -m goverse_client generate``: write a typed client from an OpenAPI document."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, cast

import httpx

from goverse_client.generate import NotADocument, generate

TIMEOUT_S = 30.0


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code (0 done, 1 failed, 2 wrong usage)."""
    parser = argparse.ArgumentParser(prog="python -m goverse_client", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    verb = verbs.add_parser(
        "generate",
        help="write a module with a typed client",
        description="Write a module with a typed client for the objects of an OpenAPI document.",
        epilog="example: python -m goverse_client generate http://localhost:8000 --name Shop --out shop.py",
    )
    verb.add_argument("document", help="a file that `goverse openapi export` wrote, or the address of a gate")
    verb.add_argument("--name", required=True, help="of the client class; NAMESync is the one without async")
    verb.add_argument("--out", type=Path, help="file to write; standard output without it")
    chosen = parser.parse_args(arguments)
    try:
        text = generate(_document(chosen.document), chosen.name, Path(chosen.document).name)
    except (NotADocument, OSError, httpx.HTTPError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 1
    except ImportError:
        print("error: generating needs more packages: pip install 'goverse-client[generate]'", file=sys.stderr)  # noqa: T201
        return 1
    if chosen.out is None:
        sys.stdout.write(text)
    else:
        chosen.out.write_text(text, encoding="utf-8")
    return 0


def _document(source: str) -> dict[str, Any]:
    if source.startswith(("http://", "https://")):
        answer = httpx.get(f"{source.rstrip('/')}/openapi.json", timeout=TIMEOUT_S).raise_for_status()
        text = answer.text
    else:
        text = Path(source).read_text(encoding="utf-8")
    try:
        document = json.loads(text)
    except ValueError as error:
        raise NotADocument(f"{source} holds no JSON: {error}") from error
    if not isinstance(document, dict) or "openapi" not in document:
        raise NotADocument(f"{source} is no OpenAPI document")
    return cast("dict[str, Any]", document)


if __name__ == "__main__":
    sys.exit(main())
