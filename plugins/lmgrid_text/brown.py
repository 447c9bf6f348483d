"""The Brown corpus of American English, tags stripped, split by files within its categories."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, ClassVar

from msgspec import Meta

from lmgrid.spec import Place
from lmgrid.text import RawText, TextCorpusPart, TextError
from lmgrid.vocabulary import SPLITS
from lmgrid_text.archive import Archive, locate

USUAL = ("brown", "brown.zip", "corpora/brown", "corpora/brown.zip")
_FILE = re.compile(r"c([a-hj-npr])(\d\d)")  # category, number within it from 01


@dataclass(frozen=True, kw_only=True)
class BrownPart(TextCorpusPart):
    """The Brown corpus: 500 samples of American prose printed in 1961 (Francis and Kučera 1964).

    Licence: may be used for non-commercial purposes, according to the index of NLTK, which
    distributes it as brown.zip.
    Size: 57,340 sentences, 1,218,532 tokens, line ends included: 962,840 training, 131,426
    validation, 124,266 test; 49,311 training types; 6 MB. Not shipped.

    In each of the 15 categories the files numbered 3, 13, 23, … are for validation, 6, 16, 26, …
    for test, the others for training. The word is what stands before the last slash of
    ``word/tag``; each sentence is a line; blank lines are left out.
    """

    digests_files: ClassVar[bool] = True
    # the combined_digest of the 500 files
    expected: ClassVar[str] = "1d14e6b24a1420e00260d44b4950f8717f856446b553289cea85b98d6e358e8e"

    path: Annotated[
        Path | None,
        Meta(
            description="A folder or zip file with the files ca01 to cr09; none: brown or "
            "brown.zip in the folder that the environment variable LMGRID_DATA names, or in its "
            "folder corpora."
        ),
    ] = None

    def digest(self, place: Place) -> str:
        self._contents(place)
        return self.expected

    def read(self, place: Place) -> RawText:
        texts: dict[str, list[str]] = {split: [] for split in SPLITS}
        for name, data in self._contents(place).items():
            texts[_split(name)].append(_untagged(data.decode()))
        train, valid, test = ("".join(texts[split]) for split in SPLITS)
        return RawText(train, valid, test)

    def _contents(self, place: Place) -> dict[str, bytes]:
        """Return the 500 files by name; TextError where they are not the distributed ones."""
        archive = Archive(locate(self.path, USUAL, place))
        paths = {PurePosixPath(path).name: path for path in archive.names()}
        names = sorted(filter(_FILE.fullmatch, paths))
        contents = archive.read([paths[name] for name in names])
        files = dict(zip(names, contents, strict=True))
        digest = combined_digest(files)
        if digest != self.expected:
            raise TextError(
                f"the {len(files)} files of {archive.path} are not the Brown corpus's 500: "
                f"sha256 {digest}, expected {self.expected}; get NLTK's brown.zip"
            )
        return files


def combined_digest(files: dict[str, bytes]) -> str:
    """Return one hash of all files, by name: the sha256 of a list as sha256sum prints it."""
    lines = (f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _split(name: str) -> str:
    return {"3": "valid", "6": "test"}.get(name[-1], "train")


def _untagged(text: str) -> str:
    """Return the words of a tagged text, a sentence a line."""
    sentences = (line.split() for line in text.split("\n"))
    lines = [" ".join(token.rpartition("/")[0] for token in line) for line in sentences if line]
    return "".join(line + "\n" for line in lines)
