"""Graphics processors as torch knows them, and torch's threads."""

from __future__ import annotations

import platform

import torch


class TorchDevice:
    """What all of torch's devices share."""

    def set_threads(self, threads: int) -> None:
        """Let torch use so many threads of the host, also when a cell runs on its CPU."""
        torch.set_num_threads(threads)


class CudaDevice(TorchDevice):
    """An ``lmgrid.spec.Device`` for ``cuda:n``."""

    def available(self) -> tuple[str, ...]:
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        return tuple(f"cuda:{n}" for n in range(count))

    def synchronize(self, device: str) -> None:
        torch.cuda.synchronize(device)

    def reset_peak_bytes(self, device: str) -> None:
        torch.cuda.reset_peak_memory_stats(device)

    def peak_bytes(self, device: str) -> int:
        return torch.cuda.max_memory_allocated(device)

    def describe(self, device: str) -> str:
        return torch.cuda.get_device_name(device)


class MpsDevice(TorchDevice):
    """An ``lmgrid.spec.Device`` for ``mps``."""

    def available(self) -> tuple[str, ...]:
        return ("mps",) if torch.backends.mps.is_available() else ()

    def synchronize(self, device: str) -> None:
        torch.mps.synchronize()

    def reset_peak_bytes(self, device: str) -> None:
        """Metal keeps no peak; only what it holds now can be asked."""
        torch.mps.empty_cache()

    def peak_bytes(self, device: str) -> int:
        return int(torch.mps.driver_allocated_memory())

    def describe(self, device: str) -> str:
        return f"Apple {platform.machine()} graphics"
