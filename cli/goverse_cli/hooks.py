"""Running the ``@on_start`` and ``@on_stop`` functions of an application in a server process."""

from __future__ import annotations

from asyncio import Future
from contextlib import AsyncExitStack
from typing import Any

from goverse.objects.application import Application
from goverse.objects.process_hooks import ProcessHooks
from goverse.settings import Settings


async def start_hooks(
    application: Application, values: Settings, undo: AsyncExitStack, interrupted: Future[Any]
) -> bool:
    """Run the @on_start functions and register the @on_stop functions with ``undo``.

    Returns:
        False if ``interrupted`` completed first, because the process received a stop signal.

    Raises:
        StartFailed: an @on_start function failed.
    """
    hooks = ProcessHooks.of((spec.cls for spec in application.registry), application.module)
    undo.push_async_callback(hooks.stop, values.node.hook_timeout_s)
    return await hooks.start(interrupted)
