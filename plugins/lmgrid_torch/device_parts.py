"""Options of the devices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lmgrid.spec import Device, DevicePart


@dataclass(frozen=True)
class Cuda(DevicePart):
    """NVIDIA graphics cards, and AMD's under ROCm: ``cuda`` or ``cuda:n``."""

    requires: ClassVar[str] = "torch"

    def make(self) -> Device:
        from lmgrid_torch.devices import CudaDevice

        return CudaDevice()


@dataclass(frozen=True)
class Mps(DevicePart):
    """Apple's graphics processors."""

    requires: ClassVar[str] = "torch"

    def make(self) -> Device:
        from lmgrid_torch.devices import MpsDevice

        return MpsDevice()
