"""The base of the library's own errors, by which the command line tells what is about the user from a defect."""

from __future__ import annotations


class SapoolError(Exception):
    """What the library itself raises by a name of its own; the message is one line for people.

    Each such error is also the ``ValueError`` or ``RuntimeError`` that it is a case of.
    """
