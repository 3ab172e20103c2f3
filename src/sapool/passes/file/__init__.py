"""Exact rewrites of a converted file."""
