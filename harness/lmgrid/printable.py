"""Text from outside, made fit for a screen."""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    """Return a text without control characters, so that no terminal escape gets through."""
    return "".join(c if c == "\n" or unicodedata.category(c)[0] != "C" else "\ufffd" for c in text)
