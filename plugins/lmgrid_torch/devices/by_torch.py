"""Graphics processors as torch knows them, and torch's threads."""

from __future__ import annotations

import ctypes
import os
import platform
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import torch

# Environment variables that change which kernels a library takes. oneDNN within PyTorch 2.13 hides
# dnnl_get_effective_cpu_isa, and no function of torch tells it, so these are all that is known.
LIMITS = {
    "onednn": ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ONEDNN_CPU_ISA_HINTS"),
    "mkl": ("MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "MKL_DEBUG_CPU_TYPE"),
}
# The MKL_CBWR_ constants of mkl_types.h, which mkl_cbwr_get_auto_branch returns
BRANCHES = {
    2: "AUTO",  # what it says on processors that are not Intel's
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
    """Return what torch's own kernels, MKL and oneDNN use on the processor, as far as they tell."""
    found = {"torch": torch.backends.cpu.get_cpu_capability()}
    if torch.version.cuda:
        found["cuda"] = torch.version.cuda
    for name, told in (("mkl", _mkl_branch()), ("onednn", "")):
        if known := " ".join(filter(None, (told, *_limits(LIMITS[name])))):
            found[name] = known
    return found


def _limits(variables: tuple[str, ...]) -> Iterator[str]:
    """Yield those that are set; a value that is no plain word, such as a path, is not shown."""
    for variable in variables:
        if value := os.environ.get(variable):
            shown = value if re.fullmatch(r"[\w,+-]{1,40}", value) else "?"
            yield f"{variable}={shown}"


def _mkl_branch() -> str:
    """Return the branch that MKL finds best here; empty where torch has no MKL that can be asked.

    libtorch_cpu.so exports mkl_cbwr_get_auto_branch by its inner name. Asking changes nothing.
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
