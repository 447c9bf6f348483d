"""Starts workers as processes of this machine that ignore signals from the terminal."""

from __future__ import annotations

import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import resource_tracker
from typing import Any

from distributed import LocalCluster

from lmgrid.execution.worker import STOP_SIGNALS


def open_local(**options: Any) -> Any:
    """Return a LocalCluster whose workers block stop signals; the run decides when they stop.

    A process inherits the blocked signals of the thread that starts it. All threads that start
    workers, including replacements, are descendants of the thread started here. A signal that
    arrives meanwhile goes to the main thread, which blocks none.
    """
    with ThreadPoolExecutor(1, initializer=_block_stops) as thread:
        return thread.submit(LocalCluster, dashboard_address="127.0.0.1:0", **options).result()


def _block_stops() -> None:
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # inherited by new processes
        resource_tracker.ensure_running()  # this unblocks some signals
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
