"""Reads a grid file, with the overrides of the command line, into a Grid."""

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
from lmgrid.gridfile.axes import (
    Parts,
    SettingScopes,
    TrainingReader,
    convert,
    read_devices,
    read_part_lists,
    read_parts,
    read_threads,
)
from lmgrid.gridfile.filters import Filter
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
from lmgrid.plugin.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """The options of the command line that change a grid."""

    sets: tuple[str, ...] = ()  # each KEY=VALUE of --set
    only: tuple[str, ...] = ()  # each KEY=VALUE of --only
    devices: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()


NO_OVERRIDES = Overrides()


def read_grid(
    path: Path,
    registry: Registry,
    overrides: Overrides = NO_OVERRIDES,
    *,
    require_extras: bool = True,
) -> Grid:
    """Return the grid that a file describes.

    Raises GridError with the file, the key, what is wrong, and the nearest valid name; with
    ``require_extras``, also if a part needs an extra that is not installed.

    >>> from lmgrid.plugin.registry import Registry
    >>> path = Path("benchmarks/quickstart.toml")
    >>> grid = read_grid(path, Registry.installed(), Overrides(only=("model=ngram",)))
    >>> {cell.model.name for cell in grid.cells}
    {'ngram'}
    """
    try:
        document = normalise(parse(path))
        for assignment in overrides.sets:
            override(document, assignment, registry.option_names)
        grid = _Reader(document, registry, overrides).grid(path)
        if require_extras:
            registry.check_extras(grid.cells)
        return grid
    except GridError as error:
        raise GridError(f"{path}: {error}") from None


def only_filter(assignments: Iterable[str]) -> Filter:
    """Return the filter of some ``--only KEY=VALUE``; repeats of a key are alternatives."""
    wanted: dict[str, list[Any]] = {}
    for assignment in assignments:
        key, value = parse_assignment(assignment, "--only")
        wanted.setdefault(key, []).extend(axis(value, f"--only {key}"))
    return Filter(conditions(wanted, "--only"), "--only")


@dataclass(frozen=True)
class _Exclusion:
    """A block ``[[exclude]]``: which cells it excludes, and the reason that it gives."""

    filter: Filter
    because: str


class _Reader:
    """Makes the cells of a normalised document."""

    def __init__(self, document: Block, registry: Registry, overrides: Overrides) -> None:
        self._document = document
        self._registry = registry
        self._overrides = overrides
        self._training = TrainingReader(registry)

    def grid(self, path: Path) -> Grid:
        # Check the settings at the top, then make every cell.
        self._training.check_shared(self._document)
        cells: tuple[AnyCell, ...] = (*dict.fromkeys(self._cells()), *self._kernel_cells())
        # Check the exclusions, and apply them.
        exclusions = [self._exclusion(i, b) for i, b in enumerate(self._document["exclude"])]
        for exclusion in exclusions:
            exclusion.filter.check(cells)
        if not self._overrides.sets and not self._overrides.seeds and not self._overrides.devices:
            _check_used(exclusions, cells)
        reasons = {c: [e.because for e in exclusions if e.filter.matches(c)] for c in cells}
        excluded = tuple(Excluded(cell, why[0]) for cell, why in reasons.items() if why)
        # Keep what --only asks for.
        kept = self._only([cell for cell, why in reasons.items() if not why])
        return Grid(
            name=path.stem,
            title=convert(self._document.get("title", ""), str, "title"),
            folder=path.parent,
            cells=tuple(kept),
            excluded=excluded,
            takes=convert(self._document.get("takes", ""), str, "takes"),
        )

    def _only(self, cells: list[AnyCell]) -> list[AnyCell]:
        chosen = only_filter(self._overrides.only)
        chosen.check(cells)
        kept = [cell for cell in cells if chosen.matches(cell)]
        if not kept:
            flags = " ".join(f"--only {text}" for text in self._overrides.only)
            raise GridError(f"{flags}: no cell is left" if flags else self._why_empty())
        return kept

    def _why_empty(self) -> str:
        return "every cell is excluded" if self._document["exclude"] else "the grid has no cells"

    def _exclusion(self, index: int, block: Block) -> _Exclusion:
        path = f"exclude[{index}]"
        because = block.get("because")
        if not isinstance(because, str) or not because:
            raise GridError(f'{path}: give the reason, because = "…"')
        found = conditions({k: v for k, v in block.items() if k != "because"}, path)
        if not found:
            raise GridError(f"{path}: has no condition")
        return _Exclusion(Filter(found, path), because)

    # ------------------------------------------------------------ cells

    def _cells(self) -> Iterator[Cell]:
        corpora = self._parts("corpora")
        blocks = self._document["models"]
        if blocks and not corpora:
            raise GridError("corpora: models need a corpus; add a [[corpora]] block")
        for i, block in enumerate(blocks):
            # Separate the options of the model from the settings of its training.
            path = f"models[{i}]"
            own = {key: block[key] for key in (*SETTINGS, *TRAINING) if key in block}
            options = {key: value for key, value in block.items() if key not in own}
            self._check_keys(options, path)
            # Combine each model of the block with the axes of its training and each corpus.
            for variant in read_parts(self._registry, "model", options, path):
                model = self._with_inactive_options_at_default(variant)
                axes = self._training.axes(model, self._scopes(path, own))
                for corpus in corpora:
                    yield from axes.cells(corpus, model)

    def _check_keys(self, options: Block, path: str) -> None:
        """Raise GridError for a key that is neither an option of the model nor a setting."""
        names = self._registry.option_names("model", str(options.get("name")))
        known = ("name", *names, *SETTINGS, *TRAINING)
        for key in options:
            if names and key not in known:
                raise GridError(f"{path}.{key}: unknown option{near(key, known)}")

    def _with_inactive_options_at_default(self, model: Part) -> Part:
        """Return the model with each option that has no effect at its default.

        So two cells never differ only in an option that changes nothing.
        """
        part = self._registry.model(model)
        inactive = part.inactive_options
        if not inactive:
            return model
        options = {k: v for k, v in all_options(type(part), model).items() if k not in inactive}
        return self._registry.part("model", model.name, options)

    def _kernel_cells(self) -> Iterator[KernelCell]:
        scopes = self._scopes("kernels", {})
        for part in self._parts("kernels"):
            patterns = self._registry.kernel(part).devices
            devices = read_devices(scopes, part, patterns, self._registry.resolve_device)
            for device, threads in product(devices, read_threads(scopes)):
                yield KernelCell(part, device, threads)

    def _parts(self, key: str) -> Parts:
        lists = read_part_lists(self._registry, BLOCKS[key], self._document[key], key)
        return tuple(chain.from_iterable(lists))

    def _scopes(self, path: str, own: Block) -> SettingScopes:
        given = {"seeds": [*self._overrides.seeds], "devices": [*self._overrides.devices]}
        return SettingScopes(
            path=path,
            own=own,
            shared=self._document,
            command_line={key: values for key, values in given.items() if values},
        )


def _check_used(exclusions: Sequence[_Exclusion], cells: Sequence[AnyCell]) -> None:
    """Raise GridError if an exclusion matches no cell.

    It is not called if the command line overrides values, since an override may remove the cells
    that the exclusion is for.
    """
    for exclusion in exclusions:
        if not any(map(exclusion.filter.matches, cells)):
            raise GridError(f"{exclusion.filter.path}: matches no cell of this grid")
