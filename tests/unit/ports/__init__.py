"""The twins that stand beside the ports."""
