"""``goverse dev``: gate, node and store in one process on one machine, with reload on change."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from goverse.errors import ConfigError
from goverse.objects.application import Target as Application
from goverse.objects.application import find_target, load_application
from goverse.settings import EffectiveSettings, Settings
from goverse.telemetry import logs
from goverse_cli.failure import ExitCode, Failure
from goverse_cli.invocation import Invocation, invocation_of
from goverse_cli.listener import bind

Target = Annotated[
    str,
    typer.Argument(
        metavar="PATH|MODULE",
        help="The application: a file (app.py), a package folder, or a module name, optionally with :attribute.",
    ),
]
Host = Annotated[str | None, typer.Option(help="Address to listen on (gate.host).", show_default="127.0.0.1")]
Port = Annotated[int | None, typer.Option(help="Port; 0 picks a free one (gate.port).", show_default="8000")]
DataDir = Annotated[
    Path | None, typer.Option(help="Directory that stores the objects (wal.data_dir).", show_default=".goverse")
]
Web = Annotated[
    Path | None, typer.Option(help="Folder of static files to serve at / (gate.web_dir).", show_default=False)
]
Reload = Annotated[
    bool,
    typer.Option("--reload/--no-reload", help="Reload when a file of the package, or a file that it imports, changes."),
]


def dev(
    context: typer.Context,
    target: Target,
    *,
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    web: Web = None,
    reload: Reload = True,
) -> None:
    """Serve the object types of an application: HTTP API, durable storage and API documentation in one process.

    Committed state is stored in the data directory. It survives a restart, a crash and `kill -9`.

    \b
    Examples:
      goverse dev app.py
      goverse dev shop/ --port 9000 --data-dir /var/tmp/shop
      goverse dev shop.objects:SERVED --no-reload
      goverse dev app.py --web web/
    """
    invocation = invocation_of(context)
    flags = {
        "gate.host": ("--host", host),
        "gate.port": ("--port", port),
        "wal.data_dir": ("--data-dir", data_dir),
        "gate.web_dir": ("--web", web),
    }
    settings = invocation.settings(flags)
    _check(settings.values)
    found = find_target(target)
    logs.configure(settings.values.log.format, settings.values.log.level, node=settings.values.node.id)
    with _plain_errors(settings.values):
        code = (
            _with_reload(invocation, target, found, settings, flags) if reload else _in_this_process(target, settings)
        )
    raise typer.Exit(code)


@contextmanager
def _plain_errors(values: Settings) -> Generator[None]:
    """Close the log before an error is reported.

    Without a terminal the log defaults to JSON. The error that ends `goverse dev` is plain text even then, unless
    `log.format` is set to `json`.
    """
    try:
        yield
    except Exception:
        if values.log.format != "json":
            logs.end()
        raise


def _check(values: Settings) -> None:
    if values.gate.tls_cert is not None:
        raise ConfigError(
            "gate.tls_cert is set, but goverse dev serves plain HTTP only; remove the setting, or use goverse gate",
            setting="gate.tls_cert",
        )
    check_web(values)


def check_web(values: Settings) -> None:
    """Check, before anything starts, that the folder of static files exists.

    Raises:
        Failure: the folder does not exist.
    """
    web = values.gate.web_dir
    if web is not None and not web.is_dir():
        raise Failure(
            f"the web folder {web} does not exist",
            hint="create it, or name another folder with --web (gate.web_dir)",
            exit_code=ExitCode.USAGE,
        )


def _with_reload(
    invocation: Invocation,
    target: str,
    found: Application,
    settings: EffectiveSettings[Settings],
    flags: dict[str, tuple[str, Any]],
) -> int:
    from goverse_cli.dev.messages import Job  # noqa: PLC0415 - not needed with --no-reload
    from goverse_cli.dev.supervisor import Supervisor  # noqa: PLC0415

    gate = settings.values.gate
    plain = {path: (flag, str(value) if isinstance(value, Path) else value) for path, (flag, value) in flags.items()}
    config = invocation.config or invocation.environ.get("GOVERSE_CONFIG")
    with bind(gate.host, gate.port) as listener:
        job = Job(target, plain, str(config) if config else None, listener.fileno())
        return asyncio.run(Supervisor(job, target=found, drain_timeout_s=gate.drain_timeout_s).run())


def _in_this_process(target: str, settings: EffectiveSettings[Settings]) -> int:
    from goverse_cli.banner import announce  # noqa: PLC0415 - as above
    from goverse_cli.event_loop import run_server  # noqa: PLC0415
    from goverse_cli.serve import Running, prepared, serve  # noqa: PLC0415

    ready = prepared(load_application(target), settings.values)

    async def run() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, _drain_or_die, stop)

        def started(running: Running) -> None:
            announce(running, settings.values, reloads=False)

        await serve(ready, settings, listener=listener, started=started, stop=stop)

    with bind(settings.values.gate.host, settings.values.gate.port) as listener:
        run_server(run())
    return 0


def _drain_or_die(stop: asyncio.Event) -> None:
    if stop.is_set():
        signal.raise_signal(signal.SIGKILL)  # the second signal: committed state is on disk already
    stop.set()
