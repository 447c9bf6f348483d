"""Options of the devices."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import ClassVar

from lmgrid.spec import Device, DevicePart

VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Cuda(DevicePart):
    """NVIDIA graphics cards, and AMD's under ROCm: ``cuda`` or ``cuda:n``."""

    requires: ClassVar[str] = "torch"

    def make(self) -> Device:
        from lmgrid_torch.devices import CudaDevice

        return CudaDevice()

    def confine(self, device: str) -> str:
        """Set CUDA_VISIBLE_DEVICES, which CUDA reads when it is first used."""
        index = int(device.partition(":")[2])
        seen = os.environ.get(VISIBLE)  # numbers or UUIDs, in the order of cuda:0, cuda:1, …
        names = None if seen is None else [name for name in seen.split(",") if name]
        if names is not None and index >= len(names):
            raise ValueError(f"{device}: {VISIBLE} lets this process see {len(names)} devices")
        os.environ[VISIBLE] = str(index) if names is None else names[index]
        return "cuda:0"


@dataclass(frozen=True)
class Mps(DevicePart):
    """Apple's graphics processors."""

    requires: ClassVar[str] = "torch"

    def make(self) -> Device:
        from lmgrid_torch.devices import MpsDevice

        return MpsDevice()
