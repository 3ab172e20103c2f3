"""``python -m sapool``: the command line."""

from sapool.cli import main

main()
