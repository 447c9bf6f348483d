"""Devices of torch: available names, memory, threads and instruction sets."""

from __future__ import annotations

import ctypes
import os
import platform
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import torch

# Environment variables that limit which kernels a library uses. PyTorch 2.13 does not export
# oneDNN's dnnl_get_effective_cpu_isa or an equivalent, so only these variables are known of oneDNN.
LIMITS = {
    "onednn": ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ONEDNN_CPU_ISA_HINTS"),
    "mkl": ("MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "MKL_DEBUG_CPU_TYPE"),
}
# The MKL_CBWR_ constants of mkl_types.h, which mkl_cbwr_get_auto_branch returns
BRANCHES = {
    2: "AUTO",  # on processors not made by Intel
    3: "COMPATIBLE",
    4: "SSE2",
    6: "SSSE3",
    7: "SSE4_1",
    8: "SSE4_2",
    9: "AVX",
    10: "AVX2",
    12: "AVX512",
    14: "AVX512_E1",
}


@cache
def instruction_sets() -> Mapping[str, str]:
    """Return the instruction sets of torch's own kernels, MKL and oneDNN, where known."""
    found = {"torch": torch.backends.cpu.get_cpu_capability()}
    if torch.version.cuda:
        found["cuda"] = torch.version.cuda
    for name, told in (("mkl", _mkl_branch()), ("onednn", "")):
        if known := " ".join(filter(None, (told, *_limits(LIMITS[name])))):
            found[name] = known
    return found


def _limits(variables: tuple[str, ...]) -> Iterator[str]:
    """Yield ``NAME=value`` of each variable that is set, with ? for a value that is not a word."""
    for variable in variables:
        if value := os.environ.get(variable):
            shown = value if re.fullmatch(r"[\w,+-]{1,40}", value) else "?"
            yield f"{variable}={shown}"


def _mkl_branch() -> str:
    """Return the code branch that MKL selects on this processor; empty if torch has no MKL.

    libtorch_cpu.so exports mkl_cbwr_get_auto_branch under its internal name. The call has no side
    effect.
    """
    if not torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]
        return ""
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        branch = int(library.mkl_serv_cbwr_get_auto_branch())
    except (OSError, AttributeError):
        return ""
    return BRANCHES.get(branch, str(branch))


class TorchDevice:
    """Base of torch's devices."""

    def set_threads(self, threads: int) -> None:
        """Let torch use this number of threads of the host."""
        torch.set_num_threads(threads)


class CudaDevice(TorchDevice):
    """An ``lmgrid.spec.Device`` for ``cuda:n``."""

    def available(self) -> tuple[str, ...]:
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        return tuple(f"cuda:{n}" for n in range(count))

    def synchronize(self, device: str) -> None:
        torch.cuda.synchronize(device)

    def reset_peak_bytes(self, device: str) -> None:
        torch.cuda.synchronize(device)  # the next line raises where nothing has used it yet
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
        """Release cached memory, as Metal reports only the memory held now and no peak."""
        torch.mps.empty_cache()

    def peak_bytes(self, device: str) -> int:
        return int(torch.mps.driver_allocated_memory())

    def describe(self, device: str) -> str:
        return f"Apple {platform.machine()} graphics"
