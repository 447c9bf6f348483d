"""Reads the axes of a grid: parts with their options, settings, and how each model is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from itertools import product
from typing import Any, TypeAlias, TypeVar

import msgspec

from lmgrid.budget import Budget
from lmgrid.grid import TRAINING, Cell, GridError, Part, PartError, near
from lmgrid.gridfile.toml import Block, alternatives, axis, table
from lmgrid.plugin.registry import Registry

T = TypeVar("T")
Parts: TypeAlias = tuple[Part, ...]
ONE_EPOCH = {"epochs": 1}  # the default budget
FLAGS = {"seeds": "--seed", "devices": "--device"}
LARGEST_SEED = 2**63 - 1


# ---------------------------------------------------------------- parts


def read_parts(registry: Registry, kind: str, block: Block, path: str) -> Parts:
    """Return a part for each combination of a block's options.

    ``path`` is the place of the block in the file, for error messages. Raises GridError if the
    block has no name, or if the name or an option is not known to the registry.
    """
    name = block.get("name")
    if not isinstance(name, str):
        raise GridError(f'{path}: name the {kind}, name = "…"')
    options = {key: value for key, value in block.items() if key != "name"}
    try:
        return tuple(registry.part(kind, name, o) for o in alternatives(options, path))
    except PartError as error:
        raise GridError(
            f"{path}.{error.option}: {error}" if error.option else f"{path}: {error}"
        ) from None


def read_part_lists(
    registry: Registry, kind: str, blocks: Iterable[Block], path: str
) -> tuple[Parts, ...]:
    """Return the parts of each block of a list, one tuple for each block."""
    return tuple(read_parts(registry, kind, b, f"{path}[{i}]") for i, b in enumerate(blocks))


# ---------------------------------------------------------------- settings


@dataclass(frozen=True)
class Setting:
    """The value of a setting, and its path in the file or its flag, for error messages."""

    path: str
    value: Any  # as in the TOML file, not yet checked


@dataclass(frozen=True)
class SettingScopes:
    """The three places where a setting may be written; the first that has it applies.

    They are the command line, the block of the model, and the top of the file.
    """

    path: str  # of the block
    own: Block
    shared: Block  # the top of the file
    command_line: Block = field(default_factory=dict)  # keys of FLAGS

    def lookup(self, key: str, default: Any) -> Setting:
        """Return the setting that applies, or the default if no place has it."""
        if key in self.command_line:
            return Setting(FLAGS[key], self.command_line[key])
        if key in self.own or key not in self.shared:
            return Setting(f"{self.path}.{key}", self.own.get(key, default))
        return Setting(key, self.shared[key])


def read_seeds(scopes: SettingScopes) -> tuple[int, ...]:
    """Return the seeds of a block, by default 0. Raises GridError if one is not a seed."""
    return _read_integers(scopes.lookup("seeds", 0), smallest=0)


def read_threads(scopes: SettingScopes) -> tuple[int, ...]:
    """Return the thread counts of a block, by default 1. Raises GridError if one is below 1."""
    return _read_integers(scopes.lookup("threads", 1), smallest=1)


def read_device_names(scopes: SettingScopes) -> tuple[str, ...]:
    """Return the names in ``devices``, by default ``cpu``. Raises GridError if one is no string."""
    setting = scopes.lookup("devices", "cpu")
    return tuple(convert(v, str, setting.path) for v in axis(setting.value, setting.path))


def read_devices(
    scopes: SettingScopes, part: Part, patterns: Sequence[str], resolve: Callable[[str], str]
) -> tuple[str, ...]:
    """Return the devices on which a part can run.

    ``patterns`` are the names of the devices that it supports, with ``*``; ``resolve`` returns
    the full name of a device. If it supports none of the devices at the top of the file, it runs
    on ``cpu``. Raises GridError if it supports neither.
    """
    devices = dict.fromkeys(map(resolve, read_device_names(scopes)))

    def is_supported(device: str) -> bool:
        return any(fnmatchcase(device, pattern) for pattern in patterns)

    if supported := tuple(filter(is_supported, devices)):
        return supported
    if "devices" not in scopes.own and is_supported("cpu"):
        return ("cpu",)
    raise GridError(
        f"{scopes.path}.devices: {part.label!r} runs only on {', '.join(patterns)}; name such a "
        "device, or change its options"
    )


def read_budget(scopes: SettingScopes) -> Budget:
    """Return the budget of a block, by default one epoch. Raises GridError if it is invalid."""
    setting = scopes.lookup("budget", ONE_EPOCH)
    limits = table(setting.value, setting.path)
    known = [field.name for field in fields(Budget)]
    for key in limits:
        if key not in known:
            raise GridError(f"{setting.path}.{key}: unknown key{near(key, known)}")
    return convert(limits or ONE_EPOCH, Budget, setting.path)


def convert(value: Any, kind: type[T], path: str) -> T:
    """Return a value of the file as an instance of a type; GridError if it does not fit.

    >>> convert(3, int, "seeds")
    3
    >>> convert("three", int, "seeds")
    Traceback (most recent call last):
    lmgrid.grid.GridError: seeds: Expected `int`, got `str`
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise GridError(f"{path}: {str(error).replace(' - at `$`', '')}") from None


def _read_integers(setting: Setting, *, smallest: int) -> tuple[int, ...]:
    values = [convert(v, int, setting.path) for v in axis(setting.value, setting.path)]
    for value in values:
        if not smallest <= value <= LARGEST_SEED:
            raise GridError(f"{setting.path}: {value} is not between {smallest} and 2**63 - 1")
    return tuple(values)


# ---------------------------------------------------------------- training


@dataclass(frozen=True, kw_only=True)
class TrainingAxes:
    """The axes of one model's training. An axis without effect on the model has one value."""

    optimizers: tuple[Part | None, ...]
    regularizers: tuple[Parts, ...]
    reporters: tuple[Parts, ...]
    seeds: tuple[int | None, ...]
    devices: tuple[str, ...]
    threads: tuple[int, ...]
    budget: Budget | None

    def cells(self, corpus: Part, model: Part) -> Iterator[Cell]:
        """Yield a cell for each combination of the axes."""
        for optimizer, regularizers, reporters, seed, device, threads in product(
            self.optimizers,
            self.regularizers,
            self.reporters,
            self.seeds,
            self.devices,
            self.threads,
        ):
            yield Cell(
                corpus=corpus,
                model=model,
                optimizer=optimizer,
                regularizers=regularizers,
                seed=seed,
                device=device,
                threads=threads,
                budget=self.budget,
                reporters=reporters,
            )


class TrainingReader:
    """Reads the training axes of models."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def check_shared(self, document: Block) -> None:
        """Raise GridError if the top of the file has an invalid setting, even an unused one."""
        self._part_lists("optimizer", document.get("optimizers", []), "optimizers")
        self._combinations(document.get("regularizers", []), "regularizers")
        self._part_lists("reporter", document.get("reporters", []), "reporters")
        top = SettingScopes("", {}, document)
        read_seeds(top)
        read_threads(top)
        read_device_names(top)
        read_budget(top)

    def axes(self, model: Part, scopes: SettingScopes) -> TrainingAxes:
        """Return the training axes of one model. Raises GridError if they do not fit the model."""
        part = self._registry.model(model)
        self._check_settings_have_effect(model, scopes)
        trains = part.by_gradient
        budget = read_budget(scopes) if part.budgeted else None
        return TrainingAxes(
            optimizers=self._optimizers(scopes, model, budget) if trains and budget else (None,),
            regularizers=self._regularizer_lists(scopes, model) if trains else ((),),
            reporters=self._reporter_lists(scopes, model) if trains else ((),),
            seeds=(None,) if part.deterministic else read_seeds(scopes),
            devices=read_devices(scopes, model, part.devices, self._registry.resolve_device),
            threads=read_threads(scopes),
            budget=budget,
        )

    def _check_settings_have_effect(self, model: Part, scopes: SettingScopes) -> None:
        """Raise GridError if the model's block has a setting without effect on the model."""
        part = self._registry.model(model)
        effective = (TRAINING if part.by_gradient else ()) + (("budget",) if part.budgeted else ())
        for key in (*TRAINING, "budget"):
            if key in scopes.own and key not in effective:
                why = "has its own optimizer" if part.budgeted else "is not trained by gradient"
                raise GridError(f"{scopes.path}.{key}: {model.name!r} {why}; remove {key}")
        if part.deterministic and "seeds" in scopes.own:
            raise GridError(f"{scopes.path}.seeds: {model.name!r} is deterministic; remove seeds")

    def _optimizers(self, scopes: SettingScopes, model: Part, budget: Budget) -> Parts:
        setting = scopes.lookup("optimizers", [])
        if not setting.value:
            raise GridError(
                f"{setting.path}: {model.name!r} is trained by gradient; name an optimizer: "
                'optimizers = ["adam"]'
            )
        lists = self._part_lists("optimizer", setting.value, setting.path)
        parts = tuple(part for parts in lists for part in parts)
        for part in parts:
            if budget.limit(1) == float("inf") and self._registry.optimizer(part).needs_length:
                raise GridError(
                    f"{setting.path}: the schedule of {part.label} needs to know how long training "
                    "is; give the budget epochs or tokens too"
                )
        return parts

    def _regularizer_lists(self, scopes: SettingScopes, model: Part) -> tuple[Parts, ...]:
        setting = scopes.lookup("regularizers", [])
        combined = self._combinations(setting.value, setting.path) if setting.value else ((),)
        for parts in combined:
            self._check_sites(parts, model, setting.path)
        return combined

    def _combinations(self, lists: list[Any], path: str) -> tuple[Parts, ...]:
        combined: list[Parts] = []
        for i, entry in enumerate(lists):
            if not isinstance(entry, list):
                hint = "each entry is a list of regularizers that are used together, [] for none"
                raise GridError(f"{path}[{i}]: {hint}")
            combined += product(*self._part_lists("regularizer", entry, f"{path}[{i}]"))
        return tuple(combined)

    def _check_sites(self, parts: Parts, model: Part, path: str) -> None:
        """Raise GridError if the model has none of the sites that a regularizer can act at."""
        offered = set(self._registry.model(model).sites)
        for part in parts:
            accepted = self._registry.regularizer(part).sites
            if accepted and offered.isdisjoint(accepted):
                raise _missing_site(path, part, model, accepted)

    def _reporter_lists(self, scopes: SettingScopes, model: Part) -> tuple[Parts, ...]:
        """Return each combination of the reporters; all reporters are used together.

        A reporter at the top of the file is left out for a model without the sites that it needs.
        """
        setting = scopes.lookup("reporters", [])
        offered = set(self._registry.model(model).sites)
        fitting = []
        for parts in self._part_lists("reporter", setting.value, setting.path):
            needed = self._registry.reporter(parts[0]).sites
            if offered.issuperset(needed):
                fitting.append(parts)
            elif "reporters" in scopes.own:
                raise _missing_site(setting.path, parts[0], model, needed)
        return tuple(product(*fitting))

    def _part_lists(self, kind: str, blocks: list[Block], path: str) -> tuple[Parts, ...]:
        return read_part_lists(self._registry, kind, blocks, path)


def _missing_site(path: str, part: Part, model: Part, needed: Sequence[str]) -> GridError:
    return GridError(
        f"{path}: {part.name!r} acts at {', '.join(needed)}; {model.label!r} has no such site; "
        f"name {part.name!r} in the blocks of other models, or change the options of this one"
    )
