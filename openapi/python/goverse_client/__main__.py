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
    """Run the command and return its exit code: 0 for success, 1 for a failure, 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m goverse_client", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    verb = verbs.add_parser(
        "generate",
        help="write a module with a typed client",
        description="Write a module with a typed client for the objects of an OpenAPI document.",
        epilog="example: python -m goverse_client generate http://localhost:8000 --name Shop --out shop.py",
    )
    verb.add_argument("document", help="a file written by `goverse openapi export`, or the URL of a gate")
    verb.add_argument("--name", required=True, help="name of the client class; the synchronous client is NAMESync")
    verb.add_argument("--out", type=Path, help="output file; the default is standard output")
    chosen = parser.parse_args(arguments)
    try:
        text = generate(_document(chosen.document), chosen.name, Path(chosen.document).name)
    except (NotADocument, OSError, httpx.HTTPError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 1
    except ImportError:
        print("error: missing packages: run pip install 'goverse-client[generate]'", file=sys.stderr)  # noqa: T201
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
        raise NotADocument(f"{source} is not valid JSON: {error}") from error
    if not isinstance(document, dict) or "openapi" not in document:
        raise NotADocument(f"{source} is not an OpenAPI document")
    return cast("dict[str, Any]", document)


if __name__ == "__main__":
    sys.exit(main())
