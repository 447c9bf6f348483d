"""Options of the devices."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from lmgrid.spec import Device, DevicePart

VISIBLE = "CUDA_VISIBLE_DEVICES"


class TorchDevicePart(DevicePart):
    """What the parts of torch's devices share."""

    requires: ClassVar[str] = "torch"

    def instruction_sets(self) -> Mapping[str, str]:
        """Return what torch and its libraries use on the processor, once torch is imported."""
        if "torch" not in sys.modules:
            return {}
        from lmgrid_torch.devices.by_torch import instruction_sets

        return instruction_sets()


@dataclass(frozen=True)
class CudaPart(TorchDevicePart):
    """NVIDIA graphics cards, and AMD's under ROCm: ``cuda`` or ``cuda:n``."""

    def make(self) -> Device:
        from lmgrid_torch.devices.by_torch import CudaDevice

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
class MpsPart(TorchDevicePart):
    """Apple's graphics processors."""

    def make(self) -> Device:
        from lmgrid_torch.devices.by_torch import MpsDevice

        return MpsDevice()
