"""Values from files in messages: cut, on one line, with control characters shown and not obeyed."""

from __future__ import annotations

import reprlib
import unicodedata

MOST_SHOWN = 100
_BIG_BITS = 256


class _Cut(reprlib.Repr):
    """A ``repr`` that looks only at the beginning of what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = MOST_SHOWN - 20
        self.maxlevel, self.maxlist, self.maxtuple, self.maxdict = 3, 6, 6, 6

    def repr_int(self, x: int, level: int) -> str:
        """Return a number, or how long it is where nobody would read it (Python itself refuses to print it)."""
        if x.bit_length() <= _BIG_BITS:
            return repr(x)
        return f"a whole number of about {int(x.bit_length() * 0.30103):,} digits"

    def repr_str(self, x: str, level: int) -> str:
        """Return a text; only its beginning is quoted, however long it is."""
        return repr(x) if len(x) <= self.maxstring else f"{x[: self.maxstring]!r}..."


def quote(value: object, most: int = MOST_SHOWN) -> str:
    r"""Return ``repr(value)`` for a message: at most about ``most`` characters on one line, whatever the value is.

    Takes no time or memory to speak of for values of any size, such as lists that hold one another many times over.

    >>> quote(3)
    '3'
    >>> quote("a" * 1000, 8)
    "'aaaa..."
    >>> quote("a" + chr(27) + "[31m")
    "'a\\x1b[31m'"
    """
    said = escape_controls(_Cut().repr(value))
    return said if len(said) <= most else f"{said[: max(1, most - 3)]}..."


def escape_controls(text: str, keep: str = "") -> str:
    r"""Return a text with its control characters written as escapes, so that no terminal obeys them.

    Args:
        text: any text, as a file may hold it.
        keep: control characters that stay, such as a newline.

    >>> escape_controls("a" + chr(27) + "[2Jb")
    'a\\x1b[2Jb'
    """
    if text.isprintable():
        return text
    return "".join(char if char in keep or not _is_control(char) else _escaped(char) for char in text)


def one_line(text: str, most: int = 500) -> str:
    r"""Return a text as one line of at most ``most`` characters, such as what another program said.

    >>> one_line("first\n  second")
    'first second'
    """
    said = escape_controls(" ".join(text[: 20 * most].split()))
    return said if len(said) <= most else f"{said[: most - 3]}..."


def _is_control(char: str) -> bool:
    """Whether a character does something instead of being shown: control, direction, half a pair, line separator."""
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
