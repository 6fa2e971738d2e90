"""The settings of an installation: a YAML file, overridden by the environment, overridden by command-line flags.

Every setting has a section, a name that ends in its unit, bounds, a default from ``goverse.limits``, and a description.
Unknown names are errors. All problems are reported together, each with the place where the value was set.
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
