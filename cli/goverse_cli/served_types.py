"""The object types that a server process serves, with the access rules from the settings applied."""

from __future__ import annotations

import logging

from goverse.objects.application import Application
from goverse.settings import Settings

logger = logging.getLogger("goverse.objects")


def with_settings(application: Application, values: Settings) -> Application:
    """Return the application with the access rules of the settings, and warn about timeouts above the maximum.

    A method may declare a ``timeout_s`` above ``node.call_timeout_s_max``. It applies to calls without a
    ``GoVerse-Timeout`` header. A call with that header is limited to the maximum, so the same method can time out at
    two different times.

    Raises:
        ConfigError: a rule names a type that the application does not have.
    """
    served = application.with_access(values.access_rules())
    most_s = values.node.call_timeout_s_max
    for spec in served.registry:
        for name, method in spec.methods.items():
            if method.timeout_s is not None and method.timeout_s > most_s:
                logger.warning(
                    "%s.%s declares timeout_s=%g, more than node.call_timeout_s_max=%g: calls with a GoVerse-Timeout "
                    "header time out after at most %g s; raise the setting or lower timeout_s",
                    spec.name,
                    name,
                    method.timeout_s,
                    most_s,
                    most_s,
                )
    return served
