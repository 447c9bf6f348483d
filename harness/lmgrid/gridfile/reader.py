"""A grid file, and what the command line asks beside it, to a Grid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, product
from pathlib import Path
from typing import Any

from lmgrid.grid import (
    BLOCKS,
    SETTINGS,
    TRAINING,
    AnyCell,
    Cell,
    Excluded,
    Grid,
    GridError,
    KernelCell,
    Part,
    near,
)
from lmgrid.gridfile.axes import TrainingReader
from lmgrid.gridfile.catalogue import Catalogue, Parts, expand, expand_each
from lmgrid.gridfile.filters import Filter
from lmgrid.gridfile.settings import Section, convert, read_devices, read_threads
from lmgrid.gridfile.toml import (
    Block,
    axis,
    conditions,
    normalise,
    override,
    parse,
    parse_assignment,
)
from lmgrid.plugin.options import all_options


@dataclass(frozen=True)
class Overrides:
    """What the command line asks beside the file: overrides and filters."""

    sets: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()


NOTHING_ASKED = Overrides()


def read_grid(path: Path, catalogue: Catalogue, asked: Overrides = NOTHING_ASKED) -> Grid:
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


def only_filter(texts: Iterable[str]) -> Filter:
    """Return the filter that some ``--only KEY=VALUE`` make; repeats of a key are alternatives."""
    wanted: dict[str, list[Any]] = {}
    for text in texts:
        key, value = parse_assignment(text, "--only")
        wanted.setdefault(key, []).extend(axis(value, f"--only {key}"))
    return Filter(conditions(wanted, "--only"), "--only")


class _Reader:
    """From a normalised document to cells."""

    def __init__(self, document: Block, catalogue: Catalogue, asked: Overrides) -> None:
        self._document = document
        self._catalogue = catalogue
        self._asked = asked
        self._training = TrainingReader(catalogue)

    def grid(self, path: Path) -> Grid:
        self._training.check_shared(self._document)
        cells: tuple[AnyCell, ...] = (*dict.fromkeys(self._cells()), *self._kernel_cells())
        excludes = [self._exclude(i, block) for i, block in enumerate(self._document["exclude"])]
        for chosen, _ in excludes:
            chosen.check(cells)
        if not self._asked.sets and not self._asked.seeds and not self._asked.devices:
            self._check_used([chosen for chosen, _ in excludes], cells)
        reasons = {c: [why for chosen, why in excludes if chosen.matches(c)] for c in cells}
        excluded = tuple(Excluded(cell, why[0]) for cell, why in reasons.items() if why)
        kept = self._only([cell for cell, why in reasons.items() if not why])
        title = convert(self._document.get("title", ""), str, "title")
        takes = convert(self._document.get("takes", ""), str, "takes")
        return Grid(path.stem, title, path.parent, tuple(kept), excluded, takes)

    def _only(self, cells: list[AnyCell]) -> list[AnyCell]:
        chosen = only_filter(self._asked.only)
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
            for model in map(self._felt, expand(self._catalogue, "model", options, where)):
                axes = self._training.axes(model, self._section(where, own))
                for corpus in corpora:
                    yield from axes.cells(corpus, model)

    def _check_keys(self, options: Block, where: str) -> None:
        """Raise GridError for a key that is neither the model's nor a block's."""
        names = self._catalogue.option_names("model", str(options.get("name")))
        known = ("name", *names, *SETTINGS, *TRAINING)
        for key in options:
            if names and key not in known:
                raise GridError(f"{where}.{key}: unknown option{near(key, known)}")

    def _felt(self, model: Part) -> Part:
        """Return the same model, what it does not feel at its default."""
        part = self._catalogue.model(model)
        inactive_options = part.inactive_options
        options = {
            k: v for k, v in all_options(type(part), model).items() if k not in inactive_options
        }
        return self._catalogue.part("model", model.name, options) if inactive_options else model

    # ------------------------------------------------------------ parts

    def _kernel_cells(self) -> Iterator[KernelCell]:
        section = self._section("kernels", {})
        for part in self._parts("kernels"):
            patterns = self._catalogue.kernel(part).devices
            devices = read_devices(section, part, patterns, self._catalogue.resolve_device)
            for device, threads in product(devices, read_threads(section)):
                yield KernelCell(part, device, threads)

    def _parts(self, key: str) -> Parts:
        each = expand_each(self._catalogue, BLOCKS[key], self._document[key], key)
        return tuple(chain.from_iterable(each))

    def _section(self, where: str, own: Block) -> Section:
        asked = {"seeds": [*self._asked.seeds], "devices": [*self._asked.devices]}
        return Section(where, own, self._document, {k: v for k, v in asked.items() if v})
