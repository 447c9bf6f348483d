"""What reading a grid asks of the plugins: the parts that its blocks name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeAlias

from lmgrid.grid import AnyCell, GridError, Part, PartError
from lmgrid.gridfile.toml import Block, alternatives
from lmgrid.spec import KernelPart, ModelPart, OptimizerPart, RegularizerPart, ReporterPart

Parts: TypeAlias = tuple[Part, ...]


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


def expand(catalogue: Catalogue, kind: str, block: Block, where: str) -> Parts:
    """Return a part for each combination of a block's options."""
    name = block.get("name")
    if not isinstance(name, str):
        raise GridError(f'{where}: name the {kind}, name = "…"')
    options = {key: value for key, value in block.items() if key != "name"}
    try:
        return tuple(catalogue.part(kind, name, o) for o in alternatives(options, where))
    except PartError as error:
        raise GridError(
            f"{where}.{error.option}: {error}" if error.option else f"{where}: {error}"
        ) from None


def expand_each(
    catalogue: Catalogue, kind: str, blocks: Iterable[Block], where: str
) -> tuple[Parts, ...]:
    """Return the parts of each block of a list."""
    return tuple(expand(catalogue, kind, b, f"{where}[{i}]") for i, b in enumerate(blocks))
