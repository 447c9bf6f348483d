"""Removes control characters from text before it is printed."""

from __future__ import annotations

import unicodedata

KEPT = "\n\t"
TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # text direction


def printable(text: str) -> str:
    """Return a text with each control character replaced by U+FFFD, so that no escape runs.

    Newlines and tabs stay; characters that change the direction of text are replaced too.

    >>> printable("red: \\x1b[31m") == "red: \\ufffd[31m"
    True
    """
    return "".join(c if c in KEPT or not _is_control(c) else "\ufffd" for c in text)


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs") or character in TURNING
