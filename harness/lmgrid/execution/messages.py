"""The callbacks of a cell as messages between processes, and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from lmgrid.callbacks import Callbacks, Live
from lmgrid.result import Point


@dataclass(frozen=True)
class Waiting:
    """Another run holds the cell's lock, and the worker waits for it."""


@dataclass(frozen=True)
class Begun:
    """The worker holds the cell's lock. From now on the cell's time counts."""


Message: TypeAlias = Waiting | Begun | Live | Point


def callbacks_to(send: Callable[[Message], None]) -> Callbacks:
    """Return callbacks that send each call as a message."""
    return Callbacks(
        waiting=lambda: send(Waiting()), begun=lambda: send(Begun()), live=send, point=send
    )


def dispatch(message: Message, callbacks: Callbacks) -> None:
    """Make the call that a message stands for."""
    if isinstance(message, Waiting):
        callbacks.waiting()
    elif isinstance(message, Begun):
        callbacks.begun()
    elif isinstance(message, Live):
        callbacks.live(message)
    else:
        callbacks.point(message)
