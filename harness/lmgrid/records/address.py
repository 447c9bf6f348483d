"""Determines the inputs of a cell, whose hash is its address, without running the cell."""

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

MODEL_RUNNER, KERNEL_RUNNER = "lmgrid.cell.runner", "lmgrid.cell.kernel"  # modules that run cells


@dataclass(frozen=True)
class CodeAnalysis:
    """What is known of the code of a cell without running it."""

    sources: tuple[Source, ...]
    versions: tuple[tuple[str, str], ...]  # (library, version) where a part says that it matters
    libraries: tuple[tuple[str, str], ...]  # (library, version) of each imported library
    unresolved: tuple[str, ...]  # imports that cannot be followed; edits there move no address


@cache
def _analyse(classes: tuple[tuple[str, type], ...], runner: str) -> CodeAnalysis:
    return CodeAnalysis(
        sources=sources(classes, runner),
        versions=versions(classes),
        libraries=libraries(classes, runner),
        unresolved=unresolved(classes, runner),
    )


class InputsReader:
    """Reads the inputs of cells. Each corpus and each file is read once."""

    def __init__(self, registry: Registry, place: Place) -> None:
        self._registry, self._place = registry, place
        self._corpus_digest = cache(self._read_corpus_digest)
        self._file_digests = cache(self._read_file_digests)

    def inputs(self, cell: AnyCell) -> Inputs:
        """Return what determines the results of a cell.

        Raises GridError if a file that the cell names is missing or cannot be read.
        """
        code = self.code(cell)
        named = named_parts(cell)
        return Inputs.of(
            cell,
            corpus=self._corpus_digest(cell.corpus) if isinstance(cell, Cell) else "",
            sources=code.sources,
            files=tuple(pair for kind, part in named for pair in self._file_digests(kind, part)),
            versions=code.versions,
        )

    def code(self, cell: AnyCell) -> CodeAnalysis:
        """Return what is known of the code of a cell's parts and of the code that runs it."""
        find = self._registry.find
        named = ((kind, part.name) for kind, part in named_parts(cell))
        classes = [(f"{kind} {name}", find(kind, name).part) for kind, name in named]
        if cell.device != "cpu":  # no code decides how a processor computes
            classes.append((f"device {cell.device}", self._registry.device_class(cell.device)))
        runner = MODEL_RUNNER if isinstance(cell, Cell) else KERNEL_RUNNER
        return _analyse(tuple(classes), runner)

    def _read_corpus_digest(self, corpus: Part) -> str:
        try:
            return self._registry.corpus(corpus).digest(self._place)
        except UserError:
            raise
        except Exception as error:  # raised by a plugin
            raise GridError(f"corpus {corpus.label}: {type(error).__name__}: {error}") from None

    def _read_file_digests(self, kind: str, part: Part) -> tuple[tuple[str, str], ...]:
        """Return the digest of each file that an option names.

        Without the files of a corpus whose own digest covers them.
        """
        if kind == "corpus" and self._registry.corpus(part).digests_files:
            return ()
        return tuple(self._hash_files(kind, part))

    def _hash_files(self, kind: str, part: Part) -> Iterator[tuple[str, str]]:
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
    """Return a hash of everything that determines the ids of a cell's corpus.

    File names are not part of it. The cell must have a corpus.
    """
    cell = inputs.cell
    assert cell is not None
    code = [source for source in inputs.sources if source.name == f"corpus {cell.corpus.name}"]
    files = [pair for pair in inputs.files if pair[0].startswith("corpus ")]
    hashed = cell.corpus.name, cell.corpus.options, inputs.corpus, files, inputs.versions, code
    return hashlib.blake2b(msgspec.json.encode(hashed), digest_size=16).hexdigest()
