"""Records in, pages and figures out; needs no torch."""
