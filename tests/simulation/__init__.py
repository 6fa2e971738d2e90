"""Whole clusters on a virtual clock, from one seed: `python -m tests.simulation SEED` replays a run."""
