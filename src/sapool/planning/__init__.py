"""Where a network shrinks, what goes there, and putting it there."""
