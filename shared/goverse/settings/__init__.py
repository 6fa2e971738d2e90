"""What an installation may choose: a YAML file below the environment below command-line flags.

Every setting has a section, a name that ends in its unit, bounds, a default from ``goverse.limits``, and a
description. Names that nobody knows are errors, and every problem is reported at once with the place it
came from.
"""

from goverse.settings.effective import EffectiveSettings, load_settings
from goverse.settings.sections import GateSettings, LogSettings, NodeSettings, Settings, WalSettings

__all__ = [
    "EffectiveSettings",
    "GateSettings",
    "LogSettings",
    "NodeSettings",
    "Settings",
    "WalSettings",
    "load_settings",
]
