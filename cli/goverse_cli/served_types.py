"""The object types that a server process serves, with what the settings say about them."""

from __future__ import annotations

import logging

from goverse.objects.application import Application
from goverse.settings import Settings

logger = logging.getLogger("goverse.objects")


def with_settings(application: Application, values: Settings) -> Application:
    """Return the application with the access rules of the settings; log methods whose timeout exceeds the maximum.

    Such a timeout is allowed: it holds for calls that bring no ``GoVerse-Timeout``. A call that brings one is cut to
    the maximum, so the same method ends at two different times.

    Raises:
        ConfigError: a rule is for a type that the application does not have.
    """
    served = application.with_access(values.access_rules())
    most_s = values.node.call_timeout_s_max
    for spec in served.registry:
        for name, method in spec.methods.items():
            if method.timeout_s is not None and method.timeout_s > most_s:
                logger.warning(
                    "%s.%s declares timeout_s=%g, more than node.call_timeout_s_max, which is %g: calls with "
                    "GoVerse-Timeout end after %g s at the latest; raise the setting, or lower timeout_s",
                    spec.name,
                    name,
                    method.timeout_s,
                    most_s,
                    most_s,
                )
    return served
