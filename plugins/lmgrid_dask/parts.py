"""The options of the dask executor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

import msgspec

from lmgrid.engine import Executor, ExecutorContext, ExecutorPart
from lmgrid.errors import UserError

JobQueue = Literal[
    "HTCondorCluster",
    "LSFCluster",
    "MoabCluster",
    "OARCluster",
    "PBSCluster",
    "SGECluster",
    "SLURMCluster",
]
SCHEMES = ("tcp", "tls", "ws", "wss")


@dataclass(frozen=True, kw_only=True)
class DaskPart(ExecutorPart):
    """Cells on the workers of a dask cluster, each in a process of its own there.

    address: of a running scheduler, ``tcp://host:8786``; without it, -j processes of this machine.
    jobqueue: a class of dask-jobqueue that starts -j workers, configured by its own files.
    retries: how often a cell is begun again whose worker died, on a cluster that is started here;
    a running scheduler decides by its setting ``distributed.scheduler.allowed-failures``.
    shared: whether workers see the results folder under its absolute name; if not, records and
    weights come back through the scheduler. gpu: what the workers call an accelerator; a cell on
    one asks for one unit of it. wait: seconds to wait for the scheduler and its first worker.
    """

    requires: ClassVar[str] = "dask"

    address: str = ""
    jobqueue: JobQueue | None = None
    retries: Annotated[int, msgspec.Meta(ge=0)] = 2
    shared: bool = True
    gpu: str = "GPU"
    wait: Annotated[float, msgspec.Meta(gt=0)] = 60.0

    def __post_init__(self) -> None:
        if self.address and self.jobqueue:
            raise ValueError("address and jobqueue are two clusters; name one")
        if self.address and not _is_address(self.address):
            raise ValueError(
                f"{self.address!r} is no address of a scheduler: write SCHEME://HOST:PORT, for "
                f"instance tcp://host:8786; SCHEME is {', '.join(SCHEMES)}"
            )

    @property
    def remote(self) -> bool:
        return bool(self.address or self.jobqueue)

    def make(self, context: ExecutorContext) -> Executor:
        try:
            from lmgrid_dask.executor import DaskExecutor
        except ModuleNotFoundError as error:  # dask comes without distributed too
            raise UserError(f"dask needs {error.name}: pip install 'lmgrid[dask]'") from None
        return DaskExecutor(self, context)


def _is_address(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in SCHEMES and bool(url.hostname) and bool(url.port)
    except ValueError:  # a port that is no number, or too large; a bracket too few
        return False
