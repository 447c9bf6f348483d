"""What a cell may do to itself, its process and those beside it; by name."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

NOTE = os.environ.get("LMGRID_FAULTS_NOTE", "")  # a file for the number of a process


def _raise() -> None:
    raise RuntimeError("raised on purpose, with a \x1b[31mred\x1b[0m word")


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _orphan() -> None:
    """Kill what started this process, which is to end then."""
    parent = multiprocessing.parent_process()  # none in a new interpreter
    os.kill((parent and parent.pid) or os.getppid(), signal.SIGKILL)
    time.sleep(60)


def _segfault() -> None:
    ctypes.string_at(0)


def _sleep() -> None:
    time.sleep(60)


def _memory() -> None:
    raise MemoryError("no more, on purpose")


def _hoard() -> None:
    """Take ever more memory; 4 GB are enough to be noticed."""
    hoard = []
    for _ in range(400):
        hoard.append(bytearray(b"x" * 10_000_000))
        time.sleep(0.02)


def _move() -> None:
    os.chdir("/")


def _leave_child() -> None:
    """Die, and leave a child that holds all that this process had open."""
    if os.fork() == 0:
        _note(os.getpid())
        time.sleep(60)
        os._exit(0)
    os._exit(5)


def _keep_child() -> None:
    """Start another program, and wait for it."""
    process = subprocess.Popen(["sleep", "60"])
    _note(process.pid)
    process.wait()


def _print() -> None:
    print("printed on purpose")
    os.write(1, b"written on purpose\n")


def _exit() -> None:
    sys.exit(3)


def _interrupt() -> None:
    raise KeyboardInterrupt


def _bytes() -> None:
    raise OSError(2, "No such file", "name \udcff.txt")


class _Mute(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


def _mute() -> None:
    raise _Mute


def _hold() -> None:
    """Keep the interpreter to itself, so that no other thread of this process runs."""
    _note(os.getpid())
    ctypes.PyDLL(None).sleep(60)


def _note(number: int) -> None:
    if NOTE:
        Path(NOTE).write_text(str(number))


MISDEEDS: dict[str, Callable[[], None]] = {
    "raise": _raise,
    "kill": _kill,
    "orphan": _orphan,
    "segfault": _segfault,
    "sleep": _sleep,
    "memory": _memory,
    "hoard": _hoard,
    "move": _move,
    "leave-child": _leave_child,
    "keep-child": _keep_child,
    "print": _print,
    "exit": _exit,
    "interrupt": _interrupt,
    "bytes": _bytes,
    "mute": _mute,
    "hold": _hold,
}
