"""Workers that are processes of this machine, and outlive what a terminal sends to all of them."""

from __future__ import annotations

import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import resource_tracker
from typing import Any

from distributed import LocalCluster

from lmgrid.execution.worker import STOP_SIGNALS


def open_local(**options: Any) -> Any:
    """Return a LocalCluster whose workers leave it to the run when to stop.

    A process inherits which signals are blocked from the thread that starts it. All threads that
    start workers, also in place of one that died, descend from the one here; a signal meanwhile
    goes to the main thread, which blocks none.
    """
    with ThreadPoolExecutor(1, initializer=_block_stops) as thread:
        return thread.submit(LocalCluster, dashboard_address="127.0.0.1:0", **options).result()


def _block_stops() -> None:
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # for what is started next, too
        resource_tracker.ensure_running()  # it unblocks some, and comes with the first process
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
