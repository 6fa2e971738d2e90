"""The commands `deploy`, `upgrade`, `validate` and `debug`.

A command that changes a release checks it first, stops on a blocking finding, makes the change and checks again. It
returns 0 for success and 1 for failure.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from scripts.operate import bundle, checks
from scripts.operate.dialogue import Options, limits_of, programs_of, say, tell
from scripts.operate.facts import Facts, calls_of, series_of
from scripts.operate.findings import Finding, blocking, blocks, ok
from scripts.operate.looking import Look, look, rendered, settled, since
from scripts.operate.programs import Programs, Refused

_PAUSE_S = 3.0


@contextmanager
def chart_values(options: Options, *, kept: Any = None) -> Generator[list[str]]:
    """Yield helm's arguments for the values: first those of the release, if any, then those of the command line."""
    with tempfile.TemporaryDirectory() as folder:
        words: list[str] = []
        if kept:
            path = Path(folder) / "present.json"
            path.touch(mode=0o600)
            path.write_text(json.dumps(kept), encoding="utf-8")
            words += ["--values", str(path)]
        for file in options.values:
            words += ["--values", str(file)]
        for pair in options.set:
            words += ["--set", pair]
        yield words


def deploy(options: Options) -> int:
    """Install a new release and check it."""
    programs = programs_of(options)
    with chart_values(options) as values:
        found = before_deploy(programs, options, values)
        if tell(options, found):
            return 1
        if options.check_only:
            return 0
        change(programs, options, "install", "--create-namespace", *values)
    return after(programs, options)


def before_deploy(programs: Programs, options: Options, values: Sequence[str]) -> list[Finding]:
    """Return the findings of the pre-flight checks of an installation.

    Raises:
        Refused: the cluster does not respond.
    """
    present = status_of(programs)
    found = [
        ok("release_new", f"{options.release} does not exist in namespace {options.namespace} yet")
        if present is None
        else blocks("release_new", f"{options.release} already exists with status {present}", "use upgrade")
    ]
    refused = rendered(programs, options.chart, values)
    found.append(
        ok("values_valid", "the chart accepts the values")
        if refused is None
        else blocks("values_valid", refused, "helm/goverse/README.md describes every value")
    )
    server = programs.document("version")["serverVersion"]
    minor = int("".join(each for each in str(server["minor"]) if each.isdigit()))
    told = f"Kubernetes {server['major']}.{minor}"
    new_enough = (int(server["major"]), minor) >= (1, 29)
    found.append(
        ok("kubernetes_new_enough", told)
        if new_enough
        else blocks("kubernetes_new_enough", told, "upgrade the cluster: the chart needs Kubernetes 1.29 or later")
    )
    return found


def status_of(programs: Programs) -> str | None:
    """Return Helm's status of the release, or None if the release does not exist.

    Raises:
        Refused: the cluster does not respond.
    """
    try:
        return settled(programs)[0]
    except Refused as error:
        if "not found" in str(error):
            return None
        raise


def upgrade(options: Options) -> int:
    """Check a release, upgrade it, and check it again."""
    programs = programs_of(options)
    kept = json.loads(programs.helm("get", "values", options.release, "--output", "json"))
    with chart_values(options, kept=kept) as values:
        seen = look(programs, chart=options.chart, values=values)
        if tell(options, checks.judged(checks.BEFORE, seen, limits_of(options))):
            return 1
        if options.check_only:
            return 0
        change(programs, options, "upgrade", "--reset-values", *values)
    return after(programs, options)


def change(programs: Programs, options: Options, verb: str, *words: str) -> None:
    """Install or upgrade the release with helm, and wait until its Pods are ready."""
    waiting = ("--wait", "--timeout", f"{options.patience_s:g}s")
    say(
        options,
        programs.helm(verb, options.release, str(options.chart), *words, *waiting, patience_s=options.patience_s + 60),
    )


def after(programs: Programs, options: Options) -> int:
    """Check a changed release until no finding blocks or ``settle_s`` has passed; then make the call of ``--call``."""
    end = time.monotonic() + options.settle_s
    while True:
        seen = windowed(programs, options, look(programs, chart=options.chart))
        found = checks.judged(checks.AFTER, seen, limits_of(options))
        if not blocking(found) or time.monotonic() >= end:
            break
        time.sleep(_PAUSE_S)
    if options.call:
        found.append(answered(programs, options.call))
    stopped = tell(options, found)
    if stopped:
        way = "use `helm rollback`" if not checks.pending(seen) else "restore the backup"
        say(options, f"to go back to the previous version, {way}: see docs/guide/upgrade.md")
    return 1 if stopped else 0


def answered(programs: Programs, call: Sequence[str]) -> Finding:
    """Make one call through a gate, from inside its Pod."""
    type_name, object_id, method, *body = call
    at = Look(programs)
    try:
        gates = at.serving("gate")
        if not gates:
            raise Refused("the release has no gate")
        ends = series_of(at.served(gates[0], "/metrics"), "goverse_tls_certificate_expiry_timestamp_seconds")
        trust = ["--ca", "/etc/goverse/tls/ca.crt"] if any(labels["link"] == "gate" for labels, _ in ends) else []
        url = f"{'https' if trust else 'http'}://localhost:8000"
        answer = at.by("gate", "call", type_name, object_id, method, *body, "--url", url, *trust)
    except (Refused, ValueError) as error:
        return blocks("call_answered", str(error), "docs/guide/troubleshooting.md explains each code")
    return ok("call_answered", f"{type_name}/{object_id}.{method} returned {json.dumps(answer)[:80]}")


def windowed(programs: Programs, options: Options, seen: Facts) -> Facts:
    """Return facts whose call counts cover a window of ``window_s``, not the whole lifetime of the processes."""
    if seen.calls is None or not options.window_s:
        return seen
    time.sleep(options.window_s)
    at = Look(programs)
    metrics = at.seen("calls", lambda: at.metrics("gate"))
    if metrics is None:
        return replace(seen, calls=None, unseen={**seen.unseen, **at.unseen})
    return replace(seen, calls=since(seen.calls, calls_of(metrics.values())))


def validate(options: Options) -> int:
    """Check a running release, and run `helm test`."""
    programs = programs_of(options)
    seen = windowed(programs, options, look(programs, prometheus=options.prometheus))
    found = checks.judged(checks.RUNNING, seen, limits_of(options))
    found.append(tested(programs, options))
    if options.call:
        found.append(answered(programs, options.call))
    return 1 if tell(options, found) else 0


def tested(programs: Programs, options: Options) -> Finding:
    """Run `helm test` and return its finding."""
    try:
        programs.helm("test", options.release, "--timeout", "120s", patience_s=150)
    except Refused as error:
        to_do = f"check `kubectl logs {options.release}-test`; a network policy may block it from the gates"
        return blocks("helm_test", str(error), to_do)
    return ok("helm_test", "passed")


def debug(options: Options) -> int:
    """Collect a support bundle."""
    path, missing = bundle.collect(programs_of(options), options.folder)
    say(options, f"wrote {path}; review it before you share it")
    say(options, "\n".join(f"missing {line}" for line in missing) or "the bundle is complete")
    return 0
