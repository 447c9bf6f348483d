"""How training steps are computed: batches per step, precision and compilation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal

import torch
from torch import Tensor

from lmgrid_torch.network import Batch, Network


@dataclass(frozen=True)
class Computation:
    """Batches per step, precision and compilation, as described in ``NeuralPart``."""

    accumulate: int = 1
    precision: Literal["single", "tf32", "bf16"] = "single"
    compile: bool = False

    def check(self, device: torch.device) -> None:
        """Raise ValueError if the device does not support the precision."""
        if self.precision != "single" and device.type != "cuda":
            raise ValueError(
                f"precision = {self.precision!r} needs a graphics card (device cuda), not "
                f"{device.type}; leave it at 'single'"
            )

    def select_products(self, device: torch.device) -> None:
        """Let products of float32 on a graphics card round their factors to TF32, or not.

        The setting is torch's and holds for the whole process. Left alone, cuDNN's recurrent layers
        use TF32 and other products do not.
        """
        if device.type == "cuda":
            torch.backends.cudnn.allow_tf32 = self.precision == "tf32"
            torch.backends.cuda.matmul.allow_tf32 = self.precision == "tf32"

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """Return the context manager of the forward pass."""
        if self.precision == "bf16":
            return torch.autocast(device.type, torch.bfloat16)
        return nullcontext()

    def compile_clock(self) -> AbstractContextManager[CompileClock]:
        """Return a context manager with a clock of compilation, which runs if ``compile``."""
        clock = CompileClock()
        return clock.watching() if self.compile else nullcontext(clock)


PLAIN = Computation()


def data_loss(network: Network, batch: Batch, carried: Any) -> tuple[Tensor, Any]:
    """Return the loss of a batch, (), and the network's state for the next batch."""
    features, carried = network(batch.inputs, carried)
    return network.output.loss(features, batch.targets), carried


class CompileClock:
    """Adds up the seconds that torch spends compiling, in whichever step it compiles."""

    def __init__(self) -> None:
        self._seconds, self._started = 0.0, 0.0

    def take(self) -> float:
        """Return the seconds spent compiling since the last call."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds

    @contextmanager
    def watching(self) -> Iterator[CompileClock]:
        """Register with torch for the start and end of each compilation."""
        from torch._dynamo.callback import callback_handler as handler

        handler.register_start_callback(self._start)
        handler.register_end_callback(self._stop)
        try:
            yield self
        finally:
            handler.remove_start_callback(self._start)
            handler.remove_end_callback(self._stop)

    def _start(self, _: Any) -> None:
        self._started = perf_counter()

    def _stop(self, _: Any) -> None:
        self._seconds += perf_counter() - self._started
