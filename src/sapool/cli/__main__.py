"""``python -m sapool.cli``."""

from sapool.cli import main

main()
