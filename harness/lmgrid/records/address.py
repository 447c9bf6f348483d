"""What decides a cell's numbers, and so its address, known without running it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from lmgrid.errors import Mistake
from lmgrid.grid import AnyCell, Cell, GridError, Part, named_parts
from lmgrid.plugin.registry import Registry
from lmgrid.records.record import Inputs
from lmgrid.source.closure import libraries, sources, unresolved, versions
from lmgrid.source.filehash import digest_of
from lmgrid.spec import Place

MODEL_RUNNER, KERNEL_RUNNER = "lmgrid.cell.runner", "lmgrid.cell.kernel"  # what runs a cell
Classes = tuple[tuple[str, type], ...]


class Identities:
    """The inputs of cells; the bytes of each corpus are hashed once."""

    def __init__(self, registry: Registry, place: Place) -> None:
        self._registry, self._place = registry, place
        self._digest = cache(self._read_digest)
        self._files = cache(self._read_files)

    def of(self, cell: AnyCell) -> Inputs:
        """Return what decides a cell's numbers; GridError where a file that it names is missing."""
        classes, runner = self._code(cell)
        return Inputs(
            cell if isinstance(cell, Cell) else None,
            None if isinstance(cell, Cell) else cell,
            self._digest(cell.corpus) if isinstance(cell, Cell) else "",
            sources(classes, runner),
            tuple(found for kind, part in named_parts(cell) for found in self._files(kind, part)),
            versions(classes),
        )

    def libraries(self, cell: AnyCell) -> tuple[tuple[str, str], ...]:
        """Return the versions of the libraries that a cell's code imports."""
        return libraries(*self._code(cell))

    def unresolved(self, cell: AnyCell) -> tuple[str, ...]:
        """Return the imports that could not be followed, so that edits there move no address."""
        return unresolved(*self._code(cell))

    def _code(self, cell: AnyCell) -> tuple[Classes, str]:
        kinds = [f"{kind} {part.name}" for kind, part in named_parts(cell)]
        classes = map(type, self._registry.parts(cell))
        runner = MODEL_RUNNER if isinstance(cell, Cell) else KERNEL_RUNNER
        return tuple(zip(kinds, classes, strict=True)), runner

    def _read_digest(self, corpus: Part) -> str:
        try:
            return self._registry.corpus(corpus).digest(self._place)
        except Mistake:
            raise
        except Exception as error:  # of a third party
            raise GridError(f"corpus {corpus.label}: {type(error).__name__}: {error}") from None

    def _read_files(self, kind: str, part: Part) -> tuple[tuple[str, str], ...]:
        """Return the digest of each file that an option names, but for those of a corpus's own."""
        if kind == "corpus" and self._registry.corpus(part).digests_files:
            return ()
        return tuple(self._file_digests(kind, part))

    def _file_digests(self, kind: str, part: Part) -> Iterator[tuple[str, str]]:
        for option, name in part.files:
            path = self._place.folder / name
            try:
                yield f"{kind} {part.name}.{option}", digest_of(path)
            except FileNotFoundError:
                raise GridError(
                    f"{kind} {part.name}.{option}: no file or folder {name} in "
                    f"{self._place.folder}; check the name, or give the whole path"
                ) from None
            except OSError as error:
                raise GridError(
                    f"{kind} {part.name}.{option}: cannot read {path}: {error.strerror}"
                ) from None
