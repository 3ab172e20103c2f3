"""``python -m sapool.cli``: what ``python -m sapool`` is too."""

from sapool.cli import main

main()
