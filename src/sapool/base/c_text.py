"""Text and numbers as C writes them."""

from __future__ import annotations

_PLAIN = {ord('"'): '\\"', ord("\\"): "\\\\", ord("?"): "\\?"}  # two question marks begin a trigraph


def c_string(text: str) -> str:
    r"""Return a C string literal; whatever is no printable ASCII becomes its UTF-8 bytes in octal.

    >>> print(c_string('a "b"'))
    "a \"b\""
    >>> print(c_string("å\n1"))
    "\303\245\0121"
    """
    parts = (_PLAIN.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}") for byte in text.encode())
    return f'"{"".join(parts)}"'


def c_comment(text: str) -> str:
    r"""Return text that can stand in a comment of one line: printable ASCII, no end of a comment, no line's end.

    >>> c_comment("a */ b\nc\\")
    'a * / b c/'
    """
    plain = "".join(char if " " <= char <= "~" else " " if char.isspace() else "?" for char in text)
    return plain.replace("*/", "* /").replace("/*", "/ *").replace("\\", "/").replace("??", "? ?")


def c_float(value: float) -> str:
    """Return a float literal of C that reads back as the same float32.

    >>> c_float(0.5), c_float(1e-9)
    ('0.5f', '1e-09f')
    """
    text = f"{value:.9g}"
    return f"{text}f" if any(mark in text for mark in ".en") else f"{text}.0f"
