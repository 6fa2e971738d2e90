"""``python -m goverse_cli`` is ``goverse``."""

from goverse_cli.main import main

main()
