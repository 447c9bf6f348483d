"""How the cells of a model block are trained: what is crossed with the model, and who fits it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from lmgrid.budget import Budget
from lmgrid.grid import TRAINING, Cell, GridError, Part
from lmgrid.gridfile.catalogue import Catalogue, Parts, expand_each
from lmgrid.gridfile.settings import Section, read_budget, read_devices, read_seeds, read_threads
from lmgrid.gridfile.toml import Block


@dataclass(frozen=True)
class TrainingAxes:
    """The alternatives of one model's training, where they can be felt."""

    optimizers: tuple[Part | None, ...]
    regularizers: tuple[Parts, ...]
    reporters: tuple[Parts, ...]
    seeds: tuple[int | None, ...]
    devices: tuple[str, ...]
    threads: tuple[int, ...]
    budget: Budget | None

    def cells(self, corpus: Part, model: Part) -> Iterator[Cell]:
        """Yield a cell for each combination."""
        trained = product(self.optimizers, self.regularizers, self.reporters)
        ran = product(self.seeds, self.devices, self.threads)
        for (optimizer, regularizers, reporters), where in product(trained, ran):
            yield Cell(corpus, model, optimizer, regularizers, *where, self.budget, reporters)


class TrainingReader:
    """From sections to training axes."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def check_shared(self, document: Block) -> None:
        """Check what stands at the top, also where no model of this grid feels it."""
        self._each("optimizer", document.get("optimizers", []), "optimizers")
        self._combinations(document.get("regularizers", []), "regularizers")
        self._each("reporter", document.get("reporters", []), "reporters")
        top = Section("", {}, document)
        read_seeds(top)
        read_budget(top)

    def axes(self, model: Part, section: Section) -> TrainingAxes:
        """Return how a model is trained that a section is about."""
        kind = self._catalogue.model(model)
        self._check_felt(model, section)
        trains = kind.by_gradient
        budget = read_budget(section) if kind.budgeted else None
        return TrainingAxes(
            self._optimizers(section, model, budget) if trains and budget else (None,),
            self._regularizer_lists(section, model) if trains else ((),),
            self._reporter_lists(section, model) if trains else ((),),
            (None,) if kind.deterministic else read_seeds(section),
            read_devices(section, model, kind.devices, self._catalogue.resolve_device),
            read_threads(section),
            budget,
        )

    def _check_felt(self, model: Part, section: Section) -> None:
        """Raise GridError where a block says what its model cannot feel."""
        kind = self._catalogue.model(model)
        felt = (TRAINING if kind.by_gradient else ()) + (("budget",) if kind.budgeted else ())
        for key in (*TRAINING, "budget"):
            if key in section.own and key not in felt:
                why = "learns in its own way" if kind.budgeted else "counts and does not train"
                raise GridError(f"{section.where}.{key}: {model.name!r} {why}; remove it")
        if kind.deterministic and "seeds" in section.own:
            raise GridError(f"{section.where}.seeds: {model.name!r} feels no seed; remove it")

    def _optimizers(self, section: Section, model: Part, budget: Budget) -> Parts:
        path, tables = section.find("optimizers", [])
        if not tables:
            hint = 'optimizers = ["adam"]'
            raise GridError(f"{path}: {model.name!r} learns by gradient; name an optimizer: {hint}")
        parts = tuple(part for parts in self._each("optimizer", tables, path) for part in parts)
        for part in parts:
            if budget.limit(1) == float("inf") and self._catalogue.optimizer(part).needs_length:
                raise GridError(
                    f"{path}: the schedule of {part.label} must know how long training is; give "
                    "the budget epochs or tokens too"
                )
        return parts

    def _regularizer_lists(self, section: Section, model: Part) -> tuple[Parts, ...]:
        path, lists = section.find("regularizers", [])
        combined = self._combinations(lists, path) if lists else ((),)
        for parts in combined:
            self._check_sites(parts, model, path)
        return combined

    def _combinations(self, lists: list[Any], path: str) -> tuple[Parts, ...]:
        combined: list[Parts] = []
        for i, entry in enumerate(lists):
            if not isinstance(entry, list):
                hint = "each entry is a list of regularizers that act together, [] for none"
                raise GridError(f"{path}[{i}]: {hint}")
            combined += product(*self._each("regularizer", entry, f"{path}[{i}]"))
        return tuple(combined)

    def _check_sites(self, parts: Parts, model: Part, where: str) -> None:
        offered = set(self._catalogue.model(model).sites)
        for part in parts:
            needed = self._catalogue.regularizer(part).sites
            if needed and offered.isdisjoint(needed):
                raise _no_site(where, part, model, needed)

    def _reporter_lists(self, section: Section, model: Part) -> tuple[Parts, ...]:
        """Return the reporters that act together; one that looks elsewhere leaves this model be."""
        path, tables = section.find("reporters", [])
        offered = set(self._catalogue.model(model).sites)
        fitting = []
        for parts in self._each("reporter", tables, path):
            needed = self._catalogue.reporter(parts[0]).sites
            if offered.issuperset(needed):
                fitting.append(parts)
            elif "reporters" in section.own:
                raise _no_site(path, parts[0], model, needed)
        return tuple(product(*fitting))

    def _each(self, kind: str, blocks: list[Block], where: str) -> tuple[Parts, ...]:
        return expand_each(self._catalogue, kind, blocks, where)


def _no_site(where: str, part: Part, model: Part, needed: Sequence[str]) -> GridError:
    sites = ", ".join(needed)
    return GridError(
        f"{where}: {part.name!r} acts at {sites}; {model.label!r} has no such site; ask for it in "
        "the blocks of other models, or change this one's options"
    )
