"""What decides a cell's numbers, and so its address, known without running it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import msgspec

from lmgrid.errors import UserError
from lmgrid.grid import AnyCell, Cell, GridError, Part, named_parts
from lmgrid.plugin.registry import Registry
from lmgrid.records.record import Inputs
from lmgrid.source.closure import Source, libraries, sources, unresolved, versions
from lmgrid.source.filehash import digest_of
from lmgrid.spec import Place

MODEL_RUNNER, KERNEL_RUNNER = "lmgrid.cell.runner", "lmgrid.cell.kernel"  # what runs a cell


@dataclass(frozen=True)
class Code:
    """What is known of code without running it."""

    sources: tuple[Source, ...]
    versions: tuple[tuple[str, str], ...]  # of libraries of which a part says that they matter
    libraries: tuple[tuple[str, str], ...]  # that it imports, with their versions
    unresolved: tuple[str, ...]  # imports that could not be followed: edits there move no address


@cache
def _read_code(classes: tuple[tuple[str, type], ...], runner: str) -> Code:
    return Code(
        sources(classes, runner),
        versions(classes),
        libraries(classes, runner),
        unresolved(classes, runner),
    )


class Identities:
    """The inputs of cells; each corpus and file is looked at once."""

    def __init__(self, registry: Registry, place: Place) -> None:
        self._registry, self._place = registry, place
        self._digest = cache(self._read_digest)
        self._files = cache(self._read_files)

    def of(self, cell: AnyCell) -> Inputs:
        """Return what decides a cell's numbers; GridError where a file that it names is missing."""
        named, code = tuple(named_parts(cell)), self.code(cell)
        files = tuple(found for kind, part in named for found in self._files(kind, part))
        if isinstance(cell, Cell):
            corpus = self._digest(cell.corpus)
            return Inputs(cell, None, corpus, code.sources, files, code.versions)
        return Inputs(None, cell, "", code.sources, files, code.versions)

    def code(self, cell: AnyCell) -> Code:
        """Return what is known of the code of a cell's parts and of what runs them."""
        find = self._registry.find
        named = ((kind, part.name) for kind, part in named_parts(cell))
        classes = [(f"{kind} {name}", find(kind, name).part) for kind, name in named]
        if cell.device != "cpu":  # the processor needs nobody's code
            classes.append((f"device {cell.device}", self._registry.device_class(cell.device)))
        runner = MODEL_RUNNER if isinstance(cell, Cell) else KERNEL_RUNNER
        return _read_code(tuple(classes), runner)

    def _read_digest(self, corpus: Part) -> str:
        try:
            return self._registry.corpus(corpus).digest(self._place)
        except UserError:
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


def text_key(inputs: Inputs) -> str:
    """Return a hash of all that decides the ids of a cell's corpus; no file's name is in it."""
    cell = inputs.cell
    assert cell is not None
    code = [source for source in inputs.sources if source.name == f"corpus {cell.corpus.name}"]
    files = [found for found in inputs.files if found[0].startswith("corpus ")]
    told = cell.corpus.name, cell.corpus.options, inputs.corpus, files, inputs.versions, code
    return hashlib.blake2b(msgspec.json.encode(told), digest_size=16).hexdigest()
