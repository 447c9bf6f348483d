"""Defines the base class of errors that the user can correct."""

from __future__ import annotations


class UserError(ValueError):
    """A request cannot be carried out; the message says what is wrong, where, and how to fix it.

    The command line prints the message without a traceback and exits with status 2.
    """
