"""The clients: their rules without a gate, and themselves against a live one."""
