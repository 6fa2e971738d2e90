"""Operator's tool for a GoVerse release on Kubernetes: deploy, upgrade, validate, debug, backup, restore and size.

    python3 -m scripts.operate COMMAND --help

The tool runs `kubectl` and `helm` with the caller's permissions. It needs only Python 3.11, because an operator's
machine does not have our environment. It works in three steps: ``looking`` reads the state of the release into
``facts``, ``checks`` turns facts into findings without any input or output, and each finding says what to do next.
"""
