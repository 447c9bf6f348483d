"""Out-of-memory errors of torch as MemoryError."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

SIGNS = ("can't allocate memory", "not enough memory", "out of memory")  # CPU, CPU, MPS


@contextmanager
def memory_errors() -> Iterator[None]:
    """Raise MemoryError in place of the RuntimeError of torch that reports a lack of memory."""
    try:
        yield
    except RuntimeError as error:  # torch.OutOfMemoryError is one
        if type(error).__name__ == "OutOfMemoryError" or any(s in str(error) for s in SIGNS):
            raise MemoryError(str(error)) from error
        raise
