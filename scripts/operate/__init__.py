"""What an operator does with a release on Kubernetes: deploy, upgrade, validate, debug, backup, restore; and size.

    python3 -m scripts.operate COMMAND --help

It runs `kubectl` and `helm` with the rights of whoever calls it, and needs Python 3.11 and nothing else: an operator's
machine has no environment of ours. What is seen of a cluster are facts (``facts``), what they mean is decided without
one (``checks``), and what is to be done is said with each finding.
"""
