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
    """Runs cells on the workers of a dask cluster, each cell in a process of its own.

    ``address`` has the form ``tcp://host:8786``. The classes of ``jobqueue`` are configured by the
    files of dask-jobqueue. ``retries`` applies to clusters started here; a running scheduler
    uses its own setting ``distributed.scheduler.allowed-failures``. Without ``shared``, records and
    weights come back through the scheduler. A cell on an accelerator asks for one unit of ``gpu``.
    """

    requires: ClassVar[str] = "dask"

    address: Annotated[
        str,
        msgspec.Meta(
            description="Address of a running scheduler; if empty, -j processes of this machine."
        ),
    ] = ""
    jobqueue: Annotated[
        JobQueue | None, msgspec.Meta(description="Class of dask-jobqueue that starts -j workers.")
    ] = None
    retries: Annotated[
        int,
        msgspec.Meta(ge=0, description="How often a cell is started again after its worker died."),
    ] = 2
    shared: Annotated[
        bool,
        msgspec.Meta(description="Whether workers see the results folder under its absolute path."),
    ] = True
    gpu: Annotated[
        str, msgspec.Meta(description="The workers' name for the resource that is an accelerator.")
    ] = "GPU"
    wait: Annotated[
        float,
        msgspec.Meta(gt=0, description="Seconds to wait for the scheduler and its first worker."),
    ] = 60.0

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
