"""Entry point of ``python -m goverse_cli``, which is the same as ``goverse``."""

from goverse_cli.main import main

main()
