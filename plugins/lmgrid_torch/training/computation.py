"""How the steps of a training are computed: in which precision, compiled or not."""

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
    """How steps are computed; ``lmgrid_torch.parts.NeuralPart`` says what each option means."""

    accumulate: int = 1
    precision: Literal["single", "bf16"] = "single"
    compile: bool = False

    def check(self, device: torch.device) -> None:
        """ValueError where a device cannot."""
        if self.precision == "bf16" and device.type != "cuda":
            raise ValueError(
                f"precision = 'bf16' needs a graphics card (device cuda), not {device.type}; "
                "leave it at 'single'"
            )

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """Return what the forward pass runs in."""
        if self.precision == "single":
            return nullcontext()
        return torch.autocast(device.type, torch.bfloat16)

    def compile_clock(self) -> AbstractContextManager[CompileClock]:
        """Return a clock of what torch spends on compiling, running where it compiles."""
        clock = CompileClock()
        return clock.watching() if self.compile else nullcontext(clock)


PLAIN = Computation()


def data_loss(network: Network, batch: Batch, carried: Any) -> tuple[Tensor, Any]:
    """Return the loss of a batch, and the state to carry on."""
    features, carried = network(batch.inputs, carried)
    return network.output.loss(features, batch.targets), carried


class CompileClock:
    """Adds up the seconds that torch spends compiling, of whatever step they fall into."""

    def __init__(self) -> None:
        self._seconds, self._started = 0.0, 0.0

    def take(self) -> float:
        """Return the seconds since this was last asked."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds

    @contextmanager
    def watching(self) -> Iterator[CompileClock]:
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
