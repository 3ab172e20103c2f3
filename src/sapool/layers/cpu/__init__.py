"""Faster forms of the layers' parts on a CPU."""
