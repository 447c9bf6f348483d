"""The example from a lecture: a loop and a matrix product that compute the same."""

from __future__ import annotations

from collections.abc import Mapping

from lmgrid.spec import KernelPart, hookimpl
from lmgrid_lecture import parts


@hookimpl
def lmgrid_kernels() -> Mapping[str, type[KernelPart]]:
    return {"lecture": parts.LecturePart}
