"""Benchmarks that measure GoVerse and its alternatives side by side; see ``python -m benchmarks --help``."""
