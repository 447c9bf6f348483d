"""The error that a person can act on."""

from __future__ import annotations


class UserError(ValueError):
    """What was asked cannot be done; the message says what, where and what to do.

    The command line shows the message alone and ends with status 2.
    """
