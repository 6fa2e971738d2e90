"""Version 1 of the wire protocol: ``wire.proto`` and the modules generated from it (``make proto``)."""
