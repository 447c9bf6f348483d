"""The parts of the devices that torch supports; they have no options."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from lmgrid.spec import Device, DevicePart

VISIBLE = "CUDA_VISIBLE_DEVICES"


class TorchDevicePart(DevicePart):
    """Base of the parts of torch's devices."""

    requires: ClassVar[str] = "torch"

    def instruction_sets(self) -> Mapping[str, str]:
        """Return the instruction sets of torch and its libraries; empty if it is not imported."""
        if "torch" not in sys.modules:
            return {}
        from lmgrid_torch.devices.torch_devices import instruction_sets

        return instruction_sets()


@dataclass(frozen=True)
class CudaPart(TorchDevicePart):
    """NVIDIA graphics cards, and AMD's with ROCm: ``cuda`` or ``cuda:n``."""

    def make(self) -> Device:
        from lmgrid_torch.devices.torch_devices import CudaDevice

        return CudaDevice()

    def confine(self, device: str) -> str:
        """Set CUDA_VISIBLE_DEVICES, which CUDA reads on first use, and return ``"cuda:0"``.

        ValueError if the variable already hides this device.
        """
        index = int(device.partition(":")[2])
        seen = os.environ.get(VISIBLE)  # numbers or UUIDs, in the order of cuda:0, cuda:1, …
        names = None if seen is None else [name for name in seen.split(",") if name]
        if names is not None and index >= len(names):
            raise ValueError(f"{device}: {VISIBLE} shows {len(names)} devices to this process")
        os.environ[VISIBLE] = str(index) if names is None else names[index]
        return "cuda:0"


@dataclass(frozen=True)
class MpsPart(TorchDevicePart):
    """Apple's graphics processors, by Metal Performance Shaders: ``mps``."""

    def make(self) -> Device:
        from lmgrid_torch.devices.torch_devices import MpsDevice

        return MpsDevice()
