"""Runs a cell in this process: makes its parts, runs them, and returns the record."""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import perf_counter

from lmgrid.cell.encoded import load_text
from lmgrid.cell.inference import save_vocabulary
from lmgrid.cell.runner import ModelRunner, Replay, Setup, Workspace
from lmgrid.errors import UserError
from lmgrid.grid import AnyCell, Cell, KernelCell
from lmgrid.machine.environment import Environment, capture, load_average, now
from lmgrid.plugin.registry import Registry
from lmgrid.records.address import InputsReader, text_key
from lmgrid.records.record import Inputs, KernelRecord, Provenance, Record
from lmgrid.spec import Place

NO_WORKSPACE = Workspace()


@dataclass(frozen=True)
class CellRunner:
    """Runs cells in this process."""

    registry: Registry
    place: Place
    side_by_side: int = 1  # cells that may share this machine; it is recorded
    device_name: str = ""  # of the cell's device in this process; empty: as in the cell

    def run(
        self, cell: AnyCell, workspace: Workspace = NO_WORKSPACE, *, planned: Inputs | None = None
    ) -> Record | KernelRecord:
        """Run a cell and return its record; UserError if it is no longer what was planned."""
        began, started, load = perf_counter(), now(), round(load_average(), 2)
        inputs = self.inputs(cell)
        if planned not in (None, inputs):
            raise UserError(
                "the corpus or a plugin's source was edited after the run began; run again"
            )

        def provenance() -> Provenance:
            return Provenance(self.environment(cell), started, self.side_by_side, load)

        if isinstance(cell, KernelCell):
            from lmgrid.cell.kernel import compare

            self._set_threads(cell)
            kernel = self.registry.kernel(cell.kernel).make(self._device(cell))
            found = compare(kernel, self.registry.device(self._device(cell)), self._device(cell))
            return KernelRecord(**vars(found), inputs=inputs, provenance=provenance())
        setup = self._setup(cell, inputs)
        result = ModelRunner(setup, workspace).run()
        if workspace.weights and any(workspace.weights.glob("*")):
            save_vocabulary(workspace.weights, setup.text)
        seconds = perf_counter() - began
        return Record(**vars(result), inputs=inputs, provenance=provenance(), total_seconds=seconds)

    def replay(self, cell: Cell, tokens: tuple[int, ...], *, whole: bool) -> Replay:
        """Run a recorded cell again, scored at these counts of training tokens."""
        setup = self._setup(cell, self.inputs(cell))
        return ModelRunner(setup, NO_WORKSPACE).replay(tokens, whole=whole)

    def differ(self, cell: KernelCell) -> tuple[float, float]:
        """Return the largest difference of a kernel's two forms, and the tolerance."""
        from lmgrid.cell.kernel import largest_difference

        self._set_threads(cell)
        kernel = self.registry.kernel(cell.kernel).make(self._device(cell))
        return largest_difference(kernel), kernel.tolerance

    def inputs(self, cell: AnyCell) -> Inputs:
        return InputsReader(self.registry, self.place).inputs(cell)

    def _setup(self, cell: Cell, inputs: Inputs) -> Setup:
        """Make the parts of a cell, and set the threads of every library."""
        registry = self.registry.relative_to(self.place.folder)
        self._set_threads(cell)
        return Setup(
            text=load_text(registry.corpus(cell.corpus), self.place, text_key(inputs)),
            model=registry.model(cell.model),
            optimizer=registry.optimizer(cell.optimizer) if cell.optimizer else None,
            regularizers=tuple(map(registry.regularizer, cell.regularizers)),
            reporters=tuple(map(registry.reporter, cell.reporters)),
            budget=cell.budget,
            seed=cell.seed,
            device=registry.device(self._device(cell)),
            device_name=self._device(cell),
            cache=self.place.cache,
        )

    def _device(self, cell: AnyCell) -> str:
        return self.device_name or cell.device

    def _set_threads(self, cell: AnyCell) -> None:
        """Set the threads of every library that the cell uses."""
        for provider in self.registry.device_parts(cell):
            provider.make().set_threads(cell.threads)

    def environment(self, cell: AnyCell) -> Environment:
        """Return the machine and the libraries, once everything that the cell needs is imported."""
        registry, device = self.registry, self._device(cell)
        parts = registry.device_parts(cell)
        sets = {name: found for part in parts for name, found in part.instruction_sets().items()}
        libraries = InputsReader(registry, self.place).code(cell).libraries
        environment = capture(libraries, tuple(sorted(sets.items())))
        if device == "cpu":
            return environment
        return replace(environment, accelerator=registry.device(device).describe(device))
