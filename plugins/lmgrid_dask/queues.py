"""Starts workers as jobs of a batch queue, with dask-jobqueue."""

from __future__ import annotations

import importlib
import signal
from typing import Any

from distributed import Status

from lmgrid.errors import UserError


def open_queue(name: str) -> Any:
    """Return a cluster of a class of dask-jobqueue, without jobs. Raises UserError if it cannot."""
    try:
        return getattr(_library(), name)()
    except ImportError:
        raise UserError(f"dask: {name} needs dask-jobqueue: pip install 'lmgrid[dask]'") from None
    except ValueError as error:
        raise UserError(f"dask: {name} lacks settings, see docs/execution.md: {error}") from None


def _library() -> Any:
    """Import dask-jobqueue, then restore the handler of SIGINT, which its import replaces."""
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        return importlib.import_module("dask_jobqueue")
    finally:
        signal.signal(signal.SIGINT, on_interrupt)


def submit_jobs(cluster: Any, jobs: int) -> None:
    """Submit jobs until there are ``jobs``. Raises UserError if the queue refuses one."""

    async def submit() -> None:
        while len(cluster.worker_spec) < jobs:  # not cluster.scale, which logs what it raises
            cluster.worker_spec.update(cluster.new_worker_spec())
        await cluster

    try:
        cluster.sync(submit)
    except (OSError, RuntimeError) as error:
        for job in cluster.workers.values():
            job.status = Status.failed  # none may seem to run while the error holds on to it
        raise UserError(f"dask: a job could not be submitted: {_in_a_line(error)}") from None


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())
