"""Imports once, in the fork server, what the workers of all cells need.

Importing this module does it. A module that cannot be imported must not end the server: the worker
that needs it imports it again and reports the error.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from contextlib import suppress
from importlib import import_module

import msgspec

from lmgrid.execution.worker import (
    PRELOAD,
    STOP_SIGNALS,
    Preload,
    end_with_parent,
    ignore_stops,
    installed,
    search_path,
)
from lmgrid.machine.environment import capture
from lmgrid.records.address import KERNEL_RUNNER, MODEL_RUNNER
from lmgrid.source.closure import read_ahead

ignore_stops()
end_with_parent()
if hasattr(signal, "pthread_sigmask"):
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)  # blocked while the server was started
if PRELOAD in os.environ:
    _asked = msgspec.json.decode(os.environ[PRELOAD], type=Preload)
    sys.path[:] = _asked.path
    for _name in ("threadpoolctl", *_asked.modules):
        with suppress(Exception, SystemExit):
            import_module(_name)
_provided = [one for plugin in installed(search_path()).plugins for one in plugin.provides]
read_ahead((one.part for one in _provided if one.kind != "executor"), (MODEL_RUNNER, KERNEL_RUNNER))
with suppress(Exception):
    capture()
gc.collect()
gc.freeze()  # else a collection in a worker writes to the shared pages, which copies them
