"""A cell to its record: makes its parts, runs it, and says what went in and where it was made."""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import perf_counter

from lmgrid.cell.encoded import load_text
from lmgrid.cell.inference import save_vocabulary
from lmgrid.cell.runner import Replay, Setup, Workspace, replay_model, run_model
from lmgrid.errors import UserError
from lmgrid.grid import AnyCell, Cell, KernelCell
from lmgrid.machine.environment import Environment, capture, load_average, now
from lmgrid.plugin.registry import Registry
from lmgrid.records.address import Identities, text_key
from lmgrid.records.record import Inputs, KernelRecord, Provenance, Record
from lmgrid.spec import Place

NO_WORKSPACE = Workspace()


@dataclass(frozen=True)
class CellRunner:
    """What runs cells in this process: the plugins, and where their files are."""

    registry: Registry
    place: Place
    jobs: int = 1  # cells that run side by side
    device: str = ""  # what a cell's device is called in this process; empty: as in the cell

    def run(
        self, cell: AnyCell, desk: Workspace = NO_WORKSPACE, planned: Inputs | None = None
    ) -> Record | KernelRecord:
        """Run a cell and return its record; UserError where it is not what was planned any more."""
        began, started, load = perf_counter(), now(), round(load_average(), 2)
        inputs = self.inputs(cell)
        if planned not in (None, inputs):
            raise UserError(
                "the corpus or a plugin's source was edited after the run began; run again"
            )

        def provenance() -> Provenance:
            return Provenance(self.environment(cell), started, self.jobs, load)

        if isinstance(cell, KernelCell):
            from lmgrid.cell.kernel import compare

            self._set_threads(cell)
            kernel = self.registry.kernel(cell.kernel).make(self._device(cell))
            found = compare(kernel, self.registry.device(self._device(cell)), self._device(cell))
            return KernelRecord(**vars(found), inputs=inputs, provenance=provenance())
        setup = self._setup(cell, inputs)
        result = run_model(setup, desk)
        if desk.weights and any(desk.weights.glob("*")):
            save_vocabulary(desk.weights, setup.text)
        seconds = perf_counter() - began
        return Record(**vars(result), inputs=inputs, provenance=provenance(), total_seconds=seconds)

    def replay(self, cell: Cell, tokens: tuple[int, ...], *, whole: bool) -> Replay:
        """Run a recorded cell again, scored at these counts of training tokens."""
        setup = self._setup(cell, self.inputs(cell))
        return replay_model(setup, NO_WORKSPACE, tokens, whole=whole)

    def differ(self, cell: KernelCell) -> tuple[float, float]:
        """Return how far the twins of a kernel are apart, and how far they may be."""
        from lmgrid.cell.kernel import largest_difference

        self._set_threads(cell)
        kernel = self.registry.kernel(cell.kernel).make(self._device(cell))
        return largest_difference(kernel), kernel.tolerance

    def inputs(self, cell: AnyCell) -> Inputs:
        return Identities(self.registry, self.place).of(cell)

    def _setup(self, cell: Cell, inputs: Inputs) -> Setup:
        """Return what a cell is made of, with the threads of every library set."""
        registry = self.registry.counting_from(self.place.folder)
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
        return self.device or cell.device

    def _set_threads(self, cell: AnyCell) -> None:
        """Set the threads of every library that the cell uses, in this one place."""
        for provider in self.registry.device_parts(cell):
            provider.make().set_threads(cell.threads)

    def environment(self, cell: AnyCell) -> Environment:
        """Return what the numbers were made with, once everything that they need is imported."""
        registry, device = self.registry, self._device(cell)
        parts = registry.device_parts(cell)
        sets = {name: found for part in parts for name, found in part.instruction_sets().items()}
        libraries = Identities(registry, self.place).code(cell).libraries
        environment = capture(libraries, tuple(sorted(sets.items())))
        if device == "cpu":
            return environment
        return replace(environment, accelerator=registry.device(device).describe(device))
