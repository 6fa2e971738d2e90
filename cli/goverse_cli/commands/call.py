"""``goverse call``: call a method of an object from the shell."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import orjson
import typer

from goverse.limits import CALL_TIMEOUT_S
from goverse.model.keys import DEFAULT_NAMESPACE, ObjectKey
from goverse_cli.failure import ExitCode, Failure, named_file
from goverse_cli.invocation import DEFAULT_URL, Url, invocation_of
from goverse_cli.printable import lines
from goverse_cli.trust import Ca, Cert, CertKey, Trust

if TYPE_CHECKING:
    import httpx

TypeName = Annotated[str, typer.Argument(metavar="TYPE", help="Object type, for example Counter.")]
ObjectId = Annotated[str, typer.Argument(metavar="ID", help="Object id; any text.")]
Method = Annotated[str, typer.Argument(metavar="METHOD", help="Exported method of the type.")]
Json = Annotated[
    str,
    typer.Argument(
        metavar="JSON",
        help="Arguments: a JSON object, @FILE to read them from a file, or - for standard input.",
        show_default=False,
    ),
]
Key = Annotated[
    str | None, typer.Option(help="Idempotency key: repeating the same call with the same key has one effect.")
]
Timeout = Annotated[float, typer.Option(help="Seconds to wait for the result.", min=0.001)]
Namespace = Annotated[str | None, typer.Option(help="Namespace of the object.")]


def call(
    context: typer.Context,
    type_name: TypeName,
    object_id: ObjectId,
    method: Method,
    arguments: Json = "{}",
    *,
    url: Url = DEFAULT_URL,
    key: Key = None,
    timeout: Timeout = CALL_TIMEOUT_S,
    namespace: Namespace = None,
    ca: Ca = None,
    cert: Cert = None,
    cert_key: CertKey = None,
) -> None:
    """Call a method of an object and print its result as JSON.

    The first call creates the object, unless its class requires an explicit create. Use --key for a call that must not
    take effect twice: you can then repeat the command until it succeeds.

    \b
    Examples:
      goverse call Counter c1 increment
      goverse call Counter c1 increment '{"by": 2}'
      goverse call Wallet alice deposit '{"amount": 5}' --key deposit-4711
      goverse call Report r1 load @report.json --timeout 60
      goverse call Counter c1 increment -o json | jq .result
      goverse call Counter c1 increment --url https://gate.example:8000 --ca ca.pem
    """
    from goverse_cli.server_client import ServerClient, call_path  # noqa: PLC0415 - keeps commands without HTTP fast

    headers, path, body = _headers(timeout, key, namespace), call_path(type_name, object_id, method), _read(arguments)
    server = ServerClient(url, timeout_s=timeout, trust=Trust(ca, cert, cert_key))
    called = ObjectKey(namespace or DEFAULT_NAMESPACE, type_name, object_id)
    try:
        answer = server.request("POST", path, body=body, headers=headers)
    except Failure as failure:
        failure.hint = failure.hint or _creation(failure.document or {}, server.shown, called)
        raise
    typer.echo(lines(_as_json(answer) if invocation_of(context).as_json else answer.text))


def _creation(problem: dict[str, Any], url: str, called: ObjectKey) -> str:
    """Return the curl command that creates the called object if the problem asks for a PUT first; else ``""``."""
    _, missing, needed = str(problem.get("detail", "")).partition("create it first with PUT")
    if not missing or problem.get("object") != str(called):
        return ""
    words = ["curl", "-X", "PUT", f"{url}/objects/{called.type}/{quote(called.id, safe='')}"]
    words += ["-H", f"GoVerse-Namespace: {called.namespace}"] if called.namespace != DEFAULT_NAMESPACE else []
    if needed:
        names = needed.removeprefix(" and ").split(", ")
        words += ["-d", "{" + ", ".join(f'"{name}": ...' for name in names) + "}"]
    return shlex.join(words)


def _headers(timeout_s: float, key: str | None, namespace: str | None) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "GoVerse-Timeout": f"{timeout_s:g}"}
    headers |= {"Idempotency-Key": key} if key is not None else {}
    headers |= {"GoVerse-Namespace": namespace} if namespace is not None else {}
    for name, value in headers.items():
        if not value.isascii() or not value.isprintable():
            raise Failure(f"{name}: {value!r} is invalid; use printable ASCII only", exit_code=ExitCode.USAGE)
    return headers


def _as_json(answer: httpx.Response) -> str:
    document = {
        "result": orjson.Fragment(answer.content or b"null"),
        "version": answer.headers.get("ETag", "").strip('"') or None,
        "commit_seq": answer.headers.get("GoVerse-Commit-Seq"),
        "request_id": answer.headers.get("GoVerse-Request-Id"),
        "replayed": answer.headers.get("Idempotency-Replayed") == "true",
    }
    return orjson.dumps(document).decode()


def _read(arguments: str) -> bytes:
    """Return the arguments unchanged after checking that they are a JSON object."""
    if arguments == "-":
        text = sys.stdin.buffer.read()
    elif arguments.startswith("@"):
        text = named_file(Path(arguments[1:]))
    else:
        text = arguments.encode(errors="surrogateescape")
    try:
        value = orjson.loads(text or b"{}")
    except orjson.JSONDecodeError as error:
        shown = f" near {text[max(0, error.pos - 10) : error.pos + 10].decode(errors='replace')!r}"
        raise Failure(
            f"the arguments are not JSON: {error.msg}{shown}",
            hint="""use double quotes inside the JSON and single quotes around it: '{"by": 2}'""",
            exit_code=ExitCode.USAGE,
        ) from error
    if not isinstance(value, dict):
        raise Failure(
            "the arguments must be a JSON object",
            hint="""name each argument: '{"by": 2}'""",
            exit_code=ExitCode.USAGE,
        )
    return text
