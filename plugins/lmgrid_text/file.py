"""A corpus made from your own text files."""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from msgspec import Meta

from lmgrid.checksum import sha256
from lmgrid.spec import Place
from lmgrid.text import RawText, TextCorpusPart, TextError
from lmgrid.vocabulary import SPLITS
from lmgrid_text.archive import read_bounded

_LARGEST = 1 << 32  # bytes of one file once unpacked; its text is held in memory
_GZIP = b"\x1f\x8b"
_FRACTIONS = (0.8, 0.1, 0.1)


@dataclass(frozen=True, kw_only=True)
class FilePart(TextCorpusPart):
    """Your own text in UTF-8, one sentence per line; gzip files are unpacked.

    Give three files, or one that is cut by lines into training, validation and test text. Relative
    paths count from the grid file's folder. Licence and size are those of your text.
    """

    digests_files: ClassVar[bool] = True

    train: Annotated[Path | None, Meta(description="The file of the training text.")] = None
    valid: Annotated[Path | None, Meta(description="The file of the validation text.")] = None
    test: Annotated[Path | None, Meta(description="The file of the test text.")] = None
    path: Annotated[
        Path | None, Meta(description="One file to cut into three, in place of the other three.")
    ] = None
    fractions: Annotated[
        tuple[float, float, float],
        Meta(
            description="Shares of the lines of path for training, validation and test, in order."
        ),
    ] = _FRACTIONS
    pretokenize: Annotated[
        bool,
        Meta(description="Separate punctuation from words first, for text that is not tokenised."),
    ] = False

    def __post_init__(self) -> None:
        missing = [name for name in SPLITS if getattr(self, name) is None]
        if self.path is not None and len(missing) < 3:
            raise ValueError("both path and train, valid or test are given; give one or the other")
        if self.path is None and missing:
            raise ValueError(
                f"no {' and no '.join(missing)} file; give train, valid and test, or path"
            )
        if self.path is None and self.fractions != _FRACTIONS:
            raise ValueError("fractions cut the one file of path; with three files, leave them out")
        if min(self.fractions) <= 0 or not math.isclose(sum(self.fractions), 1.0, abs_tol=1e-6):
            raise ValueError(
                f"fractions are three positive numbers that sum to 1, not {self.fractions}"
            )

    def digest(self, place: Place) -> str:
        digests = [f"{name} {_file_digest(path)}" for name, path in self._files(place).items()]
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()

    def read(self, place: Place) -> RawText:
        texts = [_read(path) for path in self._files(place).values()]
        train, valid, test = _cut(texts[0], self.fractions) if self.path else texts
        return RawText(train, valid, test, pretokenize=self.pretokenize)

    def _files(self, place: Place) -> dict[str, Path]:
        given = {name: getattr(self, name) for name in (*SPLITS, "path")}
        return {name: _found(name, path, place.folder) for name, path in given.items() if path}


def _found(option: str, path: Path, folder: Path) -> Path:
    """Return the whole path of a file; TextError if there is none."""
    whole = folder / path
    if whole.is_dir():
        raise TextError(f"{option}: {whole} is a folder; name a text file in it")
    if not whole.is_file():
        where = "" if path.is_absolute() else f" in {folder.absolute()}"
        raise TextError(f"{option}: no file {path}{where}; check the name, or give the whole path")
    return whole


def _file_digest(path: Path) -> str:
    """Return the SHA-256 of a file; TextError if it cannot be read."""
    try:
        return sha256(path)
    except OSError as error:
        raise TextError(f"cannot read {path}: {error.strerror}") from error


def _read(path: Path) -> str:
    data = _unpacked(path)
    if not data.strip():
        raise TextError(f"{path} is empty; a split needs at least one line of text")
    try:
        return data.decode().removeprefix("\ufeff")  # a byte order mark does not belong to the text
    except UnicodeDecodeError as error:
        raise TextError(
            f"{path} is not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}, "
            f"line {data.count(10, 0, error.start) + 1}; convert it (iconv -t UTF-8)"
        ) from error


def _unpacked(path: Path) -> bytes:
    """Return the bytes of a file, unpacked if its first bytes are those of gzip."""
    try:
        with path.open("rb") as file:
            if file.peek(2)[:2] != _GZIP:
                return read_bounded(file.read, str(path), _LARGEST)
            with gzip.GzipFile(fileobj=file) as unpacked:
                return read_bounded(unpacked.read, str(path), _LARGEST)
    except (OSError, EOFError, zlib.error) as error:
        raise TextError(f"cannot read {path}: {error}") from error


def _cut(text: str, fractions: tuple[float, float, float]) -> list[str]:
    """Return the text cut by lines into three; TextError if one would be empty."""
    lines = text.removesuffix("\n").split("\n")
    first = round(len(lines) * fractions[0])
    second = round(len(lines) * (fractions[0] + fractions[1]))
    parts = {"train": lines[:first], "valid": lines[first:second], "test": lines[second:]}
    for name, part in parts.items():
        if not part:
            raise TextError(
                f"fractions {fractions} of {len(lines)} lines leave the {name} split empty; "
                "give it a larger share, or a longer file"
            )
    return ["\n".join(part) + "\n" for part in parts.values()]
