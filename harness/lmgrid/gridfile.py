"""A grid file, and what the command line asks beside it, to a Grid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from lmgrid.document import (
    BLOCKS,
    SETTINGS,
    TRAINING,
    Block,
    alternatives,
    axis,
    conditions,
    normalise,
    override,
    parse,
    parse_assignment,
    table,
)
from lmgrid.grid import (
    AnyCell,
    Budget,
    Cell,
    Excluded,
    Grid,
    GridError,
    KernelCell,
    Part,
    PartError,
    near,
)
from lmgrid.selection import Filter
from lmgrid.spec import KernelPart, ModelPart, OptimizerPart, RegularizerPart, ReporterPart

Parts = tuple[Part, ...]
T = TypeVar("T")
ONE_EPOCH = {"epochs": 1}


class Catalogue(Protocol):
    """What reading a grid needs to know of the plugins. Each raises PartError or GridError."""

    def part(self, kind: str, name: str, options: Mapping[str, Any]) -> Part: ...

    def option_names(self, kind: str, name: str) -> tuple[str, ...]: ...

    def model(self, part: Part) -> ModelPart: ...

    def optimizer(self, part: Part) -> OptimizerPart: ...

    def regularizer(self, part: Part) -> RegularizerPart: ...

    def reporter(self, part: Part) -> ReporterPart: ...

    def kernel(self, part: Part) -> KernelPart: ...

    def resolve_device(self, name: str) -> str: ...

    def check_extras(self, cells: Iterable[AnyCell]) -> None: ...


@dataclass(frozen=True)
class Asked:
    """What the command line asks beside the file: overrides and filters."""

    sets: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()


NOTHING_ASKED = Asked()


def read_grid(path: Path, catalogue: Catalogue, asked: Asked = NOTHING_ASKED) -> Grid:
    """Return the cells that a file asks for; GridError says what is wrong and where."""
    try:
        document = normalise(parse(path))
        for assignment in asked.sets:
            override(document, assignment, catalogue.option_names)
        grid = _Reader(document, catalogue, asked).grid(path)
        catalogue.check_extras(grid.cells)
        return grid
    except GridError as error:
        raise GridError(f"{path}: {error}") from None


@dataclass(frozen=True)
class _Training:
    """How the cells of one model block are trained: its axes, where they can be felt."""

    optimizers: tuple[Part | None, ...]
    regularizers: tuple[Parts, ...]
    reporters: tuple[Parts, ...]
    seeds: tuple[int | None, ...]
    devices: tuple[str, ...]
    threads: tuple[int, ...]
    budget: Budget | None


class _Reader:
    """From a normalised document to cells."""

    def __init__(self, document: Block, catalogue: Catalogue, asked: Asked) -> None:
        self._document = document
        self._catalogue = catalogue
        self._asked = asked

    def grid(self, path: Path) -> Grid:
        self._check_shared()
        cells: tuple[AnyCell, ...] = (*dict.fromkeys(self._cells()), *self._kernel_cells())
        excludes = [self._exclude(i, block) for i, block in enumerate(self._document["exclude"])]
        for chosen, _ in excludes:
            chosen.check(cells)
        if not self._asked.sets and not self._asked.seeds and not self._asked.devices:
            self._check_used([chosen for chosen, _ in excludes], cells)
        reasons = {c: [why for chosen, why in excludes if chosen.matches(c)] for c in cells}
        excluded = tuple(Excluded(cell, why[0]) for cell, why in reasons.items() if why)
        kept = self._only([cell for cell, why in reasons.items() if not why])
        title = self._typed("title", str, "")
        return Grid(path.stem, title, path.parent, tuple(kept), excluded)

    def _only(self, cells: list[AnyCell]) -> list[AnyCell]:
        wanted: dict[str, list[Any]] = {}
        for text in self._asked.only:
            key, value = parse_assignment(text, "--only")
            wanted.setdefault(key, []).extend(axis(value, f"--only {key}"))
        chosen = Filter(conditions(wanted, "--only"), "--only")
        chosen.check(cells)
        kept = [cell for cell in cells if chosen.matches(cell)]
        if not kept:
            asked = " ".join(f"--only {text}" for text in self._asked.only)
            raise GridError(f"{asked}: no cell is left" if asked else self._empty())
        return kept

    def _check_used(self, excludes: list[Filter], cells: Sequence[AnyCell]) -> None:
        """Refuse an exclude that matches nothing; an override may leave one without a match."""
        for chosen in excludes:
            if not any(map(chosen.matches, cells)):
                raise GridError(f"{chosen.where}: matches no cell of this grid")

    def _empty(self) -> str:
        return "every cell is excluded" if self._document["exclude"] else "the grid has no cells"

    def _check_shared(self) -> None:
        """Check what stands at the top, also where no model of this grid feels it."""
        self._each("optimizer", self._document.get("optimizers", []), "optimizers")
        self._combinations(self._document.get("regularizers", []), "regularizers")
        self._each("reporter", self._document.get("reporters", []), "reporters")
        self._typed_axis("seeds", {}, "", 0)
        self._budget({}, "")

    def _exclude(self, index: int, block: Block) -> tuple[Filter, str]:
        where = f"exclude[{index}]"
        because = block.get("because")
        if not isinstance(because, str) or not because:
            raise GridError(f'{where}: give the reason, because = "…"')
        meant = conditions({k: v for k, v in block.items() if k != "because"}, where)
        if not meant:
            raise GridError(f"{where}: names nothing to leave out")
        return Filter(meant, where), because

    # ------------------------------------------------------------ cells

    def _cells(self) -> Iterator[Cell]:
        corpora = self._parts("corpora")
        blocks = self._document["models"]
        if blocks and not corpora:
            raise GridError("corpora: models need a corpus; add a [[corpora]] block")
        for i, block in enumerate(blocks):
            where = f"models[{i}]"
            own = {key: block[key] for key in (*SETTINGS, *TRAINING) if key in block}
            options = {key: value for key, value in block.items() if key not in own}
            self._check_keys(options, where)
            for model in map(self._felt, self._expand("model", options, where)):
                for corpus in corpora:
                    yield from self._trained(corpus, model, self._training(model, own, where))

    def _check_keys(self, options: Block, where: str) -> None:
        """Raise GridError for a key that is neither the model's nor a block's."""
        names = self._catalogue.option_names("model", str(options.get("name")))
        known = ("name", *names, *SETTINGS, *TRAINING)
        for key in options:
            if names and key not in known:
                raise GridError(f"{where}.{key}: unknown option{near(key, known)}")

    def _felt(self, model: Part) -> Part:
        """Return the same model, what it does not feel at its default."""
        unfelt = self._catalogue.model(model).unfelt
        options = {k: v for k, v in (*model.files, *model.options) if k not in unfelt}
        return self._catalogue.part("model", model.name, options) if unfelt else model

    def _trained(self, corpus: Part, model: Part, how: _Training) -> Iterator[Cell]:
        trained = product(how.optimizers, how.regularizers, how.reporters)
        ran = product(how.seeds, how.devices, how.threads)
        for (optimizer, regularizers, reporters), where in product(trained, ran):
            yield Cell(corpus, model, optimizer, regularizers, *where, how.budget, reporters)

    def _training(self, model: Part, own: Block, where: str) -> _Training:
        kind = self._catalogue.model(model)
        felt = (TRAINING if kind.by_gradient else ()) + (("budget",) if kind.budgeted else ())
        for key in (*TRAINING, "budget"):
            if key in own and key not in felt:
                why = "learns in its own way" if kind.budgeted else "counts and does not train"
                raise GridError(f"{where}.{key}: {model.name!r} {why}; remove it")
        if kind.deterministic and "seeds" in own:
            raise GridError(f"{where}.seeds: {model.name!r} feels no seed; remove it")
        trains = kind.by_gradient
        budget = self._budget(own, where) if kind.budgeted else None
        return _Training(
            self._optimizers(own, where, model, budget) if trains and budget else (None,),
            self._regularizer_lists(own, where, model) if trains else ((),),
            self._reporter_lists(own, where, model) if trains else ((),),
            (None,) if kind.deterministic else self._seeds(own, where),
            self._devices(own, where, model, kind.devices),
            tuple(self._typed_axis("threads", own, where, 1)),
            budget,
        )

    def _optimizers(self, own: Block, where: str, model: Part, budget: Budget) -> Parts:
        path, tables = self._own_or_shared("optimizers", own, where)
        if not tables:
            hint = 'optimizers = ["adam"]'
            raise GridError(f"{path}: {model.name!r} learns by gradient; name an optimizer: {hint}")
        parts = self._each("optimizer", tables, path)
        for part in parts:
            if budget.limit(1) == float("inf") and self._catalogue.optimizer(part).needs_length:
                raise GridError(
                    f"{path}: the schedule of {part.label} must know how long training is; give "
                    "the budget epochs or tokens too"
                )
        return parts

    def _regularizer_lists(self, own: Block, where: str, model: Part) -> tuple[Parts, ...]:
        path, lists = self._own_or_shared("regularizers", own, where)
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
            axes = [
                self._expand("regularizer", t, f"{path}[{i}][{j}]") for j, t in enumerate(entry)
            ]
            combined += product(*axes)
        return tuple(combined)

    def _check_sites(self, parts: Parts, model: Part, where: str) -> None:
        offered = set(self._catalogue.model(model).sites)
        for part in parts:
            needed = self._catalogue.regularizer(part).sites
            if needed and offered.isdisjoint(needed):
                raise _no_site(where, part, model, needed)

    def _reporter_lists(self, own: Block, where: str, model: Part) -> tuple[Parts, ...]:
        """Return the reporters that act together; one that looks elsewhere leaves this model be."""
        path, tables = self._own_or_shared("reporters", own, where)
        axes = [self._expand("reporter", table, f"{path}[{i}]") for i, table in enumerate(tables)]
        offered = set(self._catalogue.model(model).sites)
        fitting = []
        for parts in axes:
            needed = self._catalogue.reporter(parts[0]).sites
            if offered.issuperset(needed):
                fitting.append(parts)
            elif "reporters" in own:
                raise _no_site(path, parts[0], model, needed)
        return tuple(product(*fitting))

    def _own_or_shared(self, key: str, own: Block, where: str) -> tuple[str, list[Any]]:
        if key in own:
            return f"{where}.{key}", own[key]
        return (key, self._document[key]) if key in self._document else (f"{where}.{key}", [])

    def _seeds(self, own: Block, where: str) -> tuple[int, ...]:
        asked = tuple(_check_plain(seed, "--seed") for seed in self._asked.seeds)
        return asked or tuple(self._typed_axis("seeds", own, where, 0))

    def _devices(
        self, own: Block, where: str, part: Part, patterns: Sequence[str]
    ) -> tuple[str, ...]:
        asked = self._asked.devices or tuple(self._typed_axis("devices", own, where, "cpu"))
        devices = dict.fromkeys(map(self._catalogue.resolve_device, asked))

        def runs(device: str) -> bool:
            return any(fnmatchcase(device, pattern) for pattern in patterns)

        if fitting := tuple(filter(runs, devices)):
            return fitting
        if "devices" not in own and runs("cpu"):
            return ("cpu",)
        raise GridError(
            f"{where}.devices: {part.label!r} runs on {', '.join(patterns)} alone; name such a "
            "device, or change its options"
        )

    def _budget(self, own: Block, where: str) -> Budget:
        value = own.get("budget", self._document.get("budget", ONE_EPOCH))
        path = f"{where}.budget" if "budget" in own else "budget"
        limits = table(value, path)
        known = [field.name for field in fields(Budget)]
        for key in limits:
            if key not in known:
                raise GridError(f"{path}.{key}: unknown key{near(key, known)}")
        return _convert(limits or ONE_EPOCH, Budget, path)

    # ------------------------------------------------------------ parts

    def _kernel_cells(self) -> Iterator[KernelCell]:
        for part in self._parts("kernels"):
            devices = self._devices({}, "kernels", part, self._catalogue.kernel(part).devices)
            for device, threads in product(devices, self._typed_axis("threads", {}, "", 1)):
                yield KernelCell(part, device, threads)

    def _parts(self, key: str) -> Parts:
        return self._each(BLOCKS[key], self._document[key], key)

    def _each(self, kind: str, blocks: list[Any], where: str) -> Parts:
        return tuple(
            p for i, b in enumerate(blocks) for p in self._expand(kind, b, f"{where}[{i}]")
        )

    def _expand(self, kind: str, block: Block, where: str) -> Parts:
        """Return a part for each combination of a block's options."""
        name = block.get("name")
        if not isinstance(name, str):
            raise GridError(f'{where}: name the {kind}, name = "…"')
        options = {key: value for key, value in block.items() if key != "name"}
        try:
            return tuple(self._catalogue.part(kind, name, o) for o in alternatives(options, where))
        except PartError as error:
            raise GridError(
                f"{where}.{error.option}: {error}" if error.option else f"{where}: {error}"
            ) from None

    # ------------------------------------------------------------ plain settings

    def _typed(self, key: str, kind: type[Any], default: Any) -> Any:
        return _convert(self._document.get(key, default), kind, key)

    def _typed_axis(self, key: str, own: Block, where: str, default: Any) -> list[Any]:
        path = f"{where}.{key}" if key in own else key
        values = axis(own.get(key, self._document.get(key, default)), path)
        return [_check_plain(_convert(v, type(default), path), path) for v in values]


def _no_site(where: str, part: Part, model: Part, needed: Sequence[str]) -> GridError:
    sites = ", ".join(needed)
    return GridError(
        f"{where}: {part.name!r} acts at {sites}; {model.label!r} has no such site; ask for it in "
        "the blocks of other models, or change this one's options"
    )


def _convert(value: Any, kind: type[T], where: str) -> T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise GridError(f"{where}: {str(error).replace(' - at `$`', '')}") from None


def _check_plain(value: Any, where: str) -> Any:
    low = 1 if where.endswith("threads") else 0
    if isinstance(value, int) and not low <= value < 2**63:
        raise GridError(f"{where}: {value} is not between {low} and 2**63 - 1")
    return value
