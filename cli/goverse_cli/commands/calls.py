"""``goverse calls``: show and operate the reliable calls of a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Any

import orjson
import typer

from goverse.limits import FORGOTTEN_CALLS_MAX
from goverse_cli.calls_client import CallsClient, DataDir, Target, call_at, summary
from goverse_cli.failure import ExitCode, Failure
from goverse_cli.invocation import DEFAULT_URL, Url, invocation_of
from goverse_cli.single_options import Commands, SharedOptions
from goverse_cli.terminal import confirm, counting, show
from goverse_cli.trust import Ca, Cert, CertKey, Trust

commands = Commands(cls=SharedOptions, no_args_is_help=True)
_command = partial(
    commands.command, epilog="The options that name the server, such as --url, are those of goverse calls --help."
)

CallId = Annotated[str, typer.Argument(metavar="ID", help="Id of the call.")]
Sender = Annotated[
    str | None, typer.Option(metavar="TYPE/ID", help="Sender of the call; needed if the sender chose the id.")
]
From = Annotated[str | None, typer.Option("--sender", metavar="TYPE/ID", help="Only calls that this object sent.")]
To = Annotated[str | None, typer.Option("--receiver", metavar="TYPE/ID", help="Only calls to this object.")]
OfType = Annotated[str | None, typer.Option("--type", metavar="TYPE", help="Only calls to objects of this type.")]
State = Annotated[
    str | None,
    typer.Option(help="Only calls in this state: pending, running, success, failed, expired, cancelled or dead."),
]
OlderThan = Annotated[str | None, typer.Option(metavar="AGE", help="Only older calls, for example 90s, 12h or 30d.")]
First = Annotated[str, typer.Argument(metavar="SENDER", help="Sending object, as TYPE/ID.")]
Second = Annotated[str, typer.Argument(metavar="RECEIVER", help="Receiving object, as TYPE/ID.")]
Namespace = Annotated[str | None, typer.Option(help="Namespace of the objects.")]

_PAGE = 1_000


@commands.callback()
def server(
    context: typer.Context,
    *,
    url: Url = DEFAULT_URL,
    namespace: Namespace = None,
    data_dir: DataDir = None,
    ca: Ca = None,
    cert: Cert = None,
    cert_key: CertKey = None,
) -> None:
    """Show and operate reliable calls and dead letters.

    The options below name the server, before or after the command. The commands use the admin token of the server,
    from the file that gate.admin_token_file names or from the data directory.
    """
    context.meta[_TARGET] = Target(url, namespace, data_dir, Trust(ca, cert, cert_key))


_TARGET = "goverse.calls"


@_command("list", short_help="List calls.")
def list_calls(
    context: typer.Context,
    *,
    state: State = None,
    type_name: OfType = None,
    sender: From = None,
    receiver: To = None,
    older_than: OlderThan = None,
    limit: Annotated[int, typer.Option(help="The largest number of calls to list.", min=1)] = 100,
) -> None:
    """List calls: first those that have not ended, then the others, the newest end first.

    Dead letters are the calls with the state dead.

    \b
    Examples:
      goverse calls list
      goverse calls list --state dead --type Account
      goverse calls list --sender Order/4711 -o json
    """
    filters = _filters(type_name, sender, receiver, older_than) | {"state": state}
    found: list[dict[str, Any]] = []
    for page in _pages(_client(context), filters, min(limit, _PAGE)):
        found += page
        if len(found) >= limit:
            break
    found = found[:limit]
    text = "\n".join(map(summary, found)) or "no calls"
    show(invocation_of(context), {"items": found}, text)


@_command("show", short_help="Show the state of a call.")
def show_call(
    context: typer.Context,
    call_id: CallId,
    *,
    sender: Sender = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait for the end of the call.", min=0, max=60)] = 0.0,
) -> None:
    """Show the state of a call, and why it waits.

    \b
    Examples:
      goverse calls show c_0f3a
      goverse calls show c_0f3a --wait 30
      goverse calls show pay-7 --sender Order/4711
    """
    wanted = f"{wait:.3f}" if wait else None
    call = _client(context).get(call_at(call_id), {"sender": sender, "wait": wanted})
    show(invocation_of(context), call, summary(call))


@_command(short_help="Print the result of a call.")
def result(context: typer.Context, call_id: CallId, *, sender: Sender = None) -> None:
    """Print the result of a call that has ended. If it ended with an error, the command fails with that error.

    \b
    Examples:
      goverse calls result c_0f3a
    """
    found = _client(context).result(call_id, sender)
    show(invocation_of(context), orjson.loads(found), found.decode())


@_command(short_help="Cancel a call that has not ended.")
def cancel(context: typer.Context, call_id: CallId, *, sender: Sender = None) -> None:
    """Cancel a call. A call that has ended does not change.

    \b
    Examples:
      goverse calls cancel c_0f3a
    """
    client = _client(context)
    client.delete(call_at(call_id), {"sender": sender})
    call = client.get(call_at(call_id), {"sender": sender})
    show(invocation_of(context), call, summary(call))


@_command(short_help="Start a waiting call now.")
def retry(context: typer.Context, call_id: CallId, *, sender: Sender = None) -> None:
    """Start a call now that is delayed, held or waits for its next attempt. Any other call does not change.

    \b
    Examples:
      goverse calls retry c_0f3a
    """
    _act(context, call_id, "/retry", sender)


@_command(short_help="Give up a call, so that those behind it continue.")
def skip(context: typer.Context, call_id: CallId, *, sender: Sender = None) -> None:
    """Give up a call. It becomes a dead letter, and the calls behind it continue.

    \b
    Examples:
      goverse calls skip c_0f3a
    """
    _act(context, call_id, "/skip", sender)


@_command(short_help="Send dead letters again.")
def redrive(
    context: typer.Context,
    call_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="Id of the dead letter. Default: all that fit the options.")
    ] = None,
    *,
    type_name: OfType = None,
    sender: From = None,
    receiver: To = None,
    older_than: OlderThan = None,
    arguments: Annotated[
        str | None, typer.Option(metavar="JSON", help="Send it with these arguments instead.", show_default=False)
    ] = None,
    delay: Annotated[float | None, typer.Option(help="Seconds after which the new calls are due.", min=0)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count them.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Send a dead letter again, as a new call with a new id; or all dead letters that fit the options.

    A dead letter is sent again once, so an interrupted command can be repeated. If letters are refused, they are named,
    and the exit code is 1.

    \b
    Examples:
      goverse calls redrive c_0f3a
      goverse calls redrive c_0f3a --arguments '{"amount": 5}'
      goverse calls redrive --type Account --dry-run
      goverse calls redrive --type Account --yes
    """
    filters = _filters(type_name, sender, receiver, older_than)
    if call_id is None:
        if arguments is not None:
            raise Failure("--arguments needs the ID of one dead letter", exit_code=ExitCode.USAGE)
        _redrive_many(context, filters | {"delay": delay}, dry_run=dry_run, agreed=yes)
        return
    if dry_run or any(value is not None for name, value in filters.items() if name != "sender"):
        raise Failure("an ID and options that select dead letters exclude each other", exit_code=ExitCode.USAGE)
    fields = {"arguments": None if arguments is None else _json(arguments), "delay": delay}
    path = call_at(call_id, "/redrive", among="dead-letters")
    made = _client(context).post(path, fields, {"sender": sender})
    show(invocation_of(context), made, f"sent again as {made['id']}")


@_command(short_help="Pause the calls from one object to another.")
def pause(context: typer.Context, sender: First, receiver: Second) -> None:
    """Pause the calls from one object to another. The pause lasts as long as the sender's node serves its shard.

    \b
    Examples:
      goverse calls pause Order/4711 Account/ann
    """
    made = _client(context).post("/calls/pause", {"sender": sender, "receiver": receiver})
    show(invocation_of(context), made, f"the calls from {sender} to {receiver} are paused")


@_command(short_help="Resume the calls from one object to another.")
def resume(context: typer.Context, sender: First, receiver: Second) -> None:
    """Resume the calls from one object to another.

    \b
    Examples:
      goverse calls resume Order/4711 Account/ann
    """
    made = _client(context).post("/calls/resume", {"sender": sender, "receiver": receiver})
    show(invocation_of(context), made, f"the calls from {sender} to {receiver} continue")


@_command(short_help="Remove ended calls.")
def cleanup(
    context: typer.Context,
    *,
    state: State = None,
    type_name: OfType = None,
    older_than: OlderThan = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count them.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Remove the results of ended calls, dead letters included, in batches. Calls that have not ended stay.

    \b
    Examples:
      goverse calls cleanup --state dead --older-than 30d --dry-run
      goverse calls cleanup --state dead --older-than 30d --yes
    """
    invocation, client = invocation_of(context), _client(context)
    fields = {"state": state, "type": type_name, "older_than": older_than}
    fit: int = client.post("/calls/cleanup", fields | {"dry_run": True})["forgotten"]
    if dry_run or not fit:
        least = "at least " if fit >= FORGOTTEN_CALLS_MAX else ""
        show(invocation, {"forgotten": fit, "dry_run": dry_run}, f"{least}{fit} ended calls fit")
        return
    confirm(invocation, f"{fit} ended calls or more are removed, with their results; continue?", agreed=yes)
    removed = 0
    with counting(invocation) as report:
        while count := client.post("/calls/cleanup", fields)["forgotten"]:
            removed += count
            report(f"removed {removed} ended calls")
    show(invocation, {"forgotten": removed, "dry_run": False}, f"removed {removed} ended calls")


def _redrive_many(context: typer.Context, fields: dict[str, Any], *, dry_run: bool, agreed: bool) -> None:
    invocation, client = invocation_of(context), _client(context)
    counted = _redriven(client, fields | {"dry_run": True}, lambda _: None)
    fit = counted["matched"]
    if dry_run or not fit:
        show(invocation, counted, f"{fit} dead letters fit")
        return
    confirm(invocation, f"{fit} dead letters are sent again; continue?", agreed=agreed)
    with counting(invocation) as report:
        total = _redriven(client, fields, report)
    words = [f"{len(total['redriven'])} of {total['matched']} dead letters were sent again"]
    words += [f"{each['id']}: {each['problem']['code']}: {each['problem']['detail']}" for each in total["failed"]]
    show(invocation, total, "\n".join(words))
    if total["failed"]:
        raise typer.Exit(ExitCode.FAILED)


def _redriven(client: CallsClient, fields: dict[str, Any], report: Callable[[str], None]) -> dict[str, Any]:
    """Send all pages of dead letters again, and return the sum of the answers."""
    total: dict[str, Any] = {"matched": 0, "redriven": [], "failed": []}
    cursor: str | None = None
    while True:
        page = client.post("/dead-letters/redrive", fields | {"cursor": cursor, "limit": _PAGE})
        for name in total:
            total[name] += page[name]
        report(f"sent {len(total['redriven'])} dead letters again")
        cursor = page["cursor"]
        if cursor is None:
            return total


def _client(context: typer.Context) -> CallsClient:
    return CallsClient(invocation_of(context), context.meta[_TARGET])


def _act(context: typer.Context, call_id: str, action: str, sender: str | None) -> None:
    call = _client(context).post(call_at(call_id, action), {}, {"sender": sender})
    show(invocation_of(context), call, summary(call))


def _filters(type_name: str | None, sender: str | None, receiver: str | None, older_than: str | None) -> dict[str, Any]:
    return {"type": type_name, "sender": sender, "receiver": receiver, "older_than": older_than}


def _pages(client: CallsClient, filters: dict[str, Any], limit: int) -> Iterator[list[dict[str, Any]]]:
    cursor: str | None = None
    while True:
        page = client.get("/calls", filters | {"limit": limit, "cursor": cursor})
        yield page["items"]
        cursor = page["cursor"]
        if cursor is None:
            return


def _json(text: str) -> dict[str, Any]:
    try:
        value: object = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Failure(f"the arguments are not JSON: {error.msg}", exit_code=ExitCode.USAGE) from error
    if not isinstance(value, dict):
        raise Failure("the arguments must be a JSON object", exit_code=ExitCode.USAGE)
    return dict(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
