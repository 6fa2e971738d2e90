"""Tests of the clients: their rules without a gate, and both clients against a running gate."""
