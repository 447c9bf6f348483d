"""From text to integers: tokens, the vocabulary, the three splits, and their cache.

Ids: 0 ``<unk>``, 1 ``<eos>``, then words by falling count in train, ties by first appearance.
Every line is a sentence and ends with ``<eos>``, a blank line too; only a newline ends a line.
There is no id for a sentence start: every model sees ``<eos>`` before the first token.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
import tempfile
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import msgspec
from filelock import FileLock

from lmgrid.spec import CorpusPart, Place

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lmgrid.spec import Tokens

UNK, EOS = 0, 1
UNK_WORD, EOS_WORD = "<unk>", "<eos>"
SPLITS = ("train", "valid", "test")
Unit = Literal["word", "char", "byte"]

# A token as it is counted: a word in UTF-8, a character, or a byte. Sequences of these are
# iterated over in C, which is what makes a million words a matter of a third of a second.
Symbol: TypeAlias = bytes | str | int
_NEWLINE: dict[Unit, Symbol] = {"word": EOS_WORD.encode(), "char": "\n", "byte": 10}

_WORD_OR_MARK = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*|[^\w\s]|_")


class TextError(ValueError):
    """A text cannot be used as asked; the message says what, where and what to do."""


def pretokenize(line: str) -> str:
    """Separate punctuation from words by spaces.

    A word is a run of letters and digits, which may hold single apostrophes and hyphens inside;
    every other character that is not white space stands alone.
    """
    return " ".join(_WORD_OR_MARK.findall(line))


@dataclass(frozen=True)
class Vocabulary:
    """The token types of a corpus, by id. A byte is written as two hexadecimal digits."""

    words: tuple[str, ...]
    unit: Unit = "word"

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def ids(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words)}

    @cached_property
    def _numbers(self) -> dict[Symbol, int]:
        numbers = {_symbol(word, self.unit): i for i, word in enumerate(self.words) if i > EOS}
        return numbers | {_NEWLINE[self.unit]: EOS}

    def encode(self, text: str, *, lowercase: bool = False) -> Tokens:
        """Return the ids of a text, shape (n,); each newline is an ``<eos>``, none is added."""
        import numpy as np

        symbols = _symbols(_lower(_unix(text), lowercase), self.unit)
        numbers = map(self._numbers.get, symbols, repeat(UNK))
        return np.fromiter(numbers, dtype=np.int32, count=len(symbols))

    def decode(self, tokens: Iterable[int]) -> str:
        """Return the text of some ids; ``<eos>`` ends a line, an unknown byte is ``?``."""
        words = [self.words[i] for i in tokens]
        if self.unit == "byte":
            numbers = (10 if w == EOS_WORD else 63 if w == UNK_WORD else int(w, 16) for w in words)
            return bytes(numbers).decode(errors="replace")
        glue = " " if self.unit == "word" else ""
        text = glue.join("\n" if word == EOS_WORD else word for word in words)
        return re.sub(" ?\n ?", "\n", text) if self.unit == "word" else text


@dataclass(frozen=True)
class Split:
    """One of train, valid and test, as ids and by the size of its original text."""

    tokens: Tokens
    characters: int  # one newline for each <eos> included
    bytes: int


@dataclass(frozen=True)
class Text:
    """A corpus as integers, split in three. ``counts[i]`` is how often id i occurs in train."""

    vocabulary: Vocabulary
    counts: NDArray[np.int64]
    train: Split
    valid: Split
    test: Split


@dataclass(frozen=True)
class RawText:
    """A corpus as it was read: three texts, a sentence a line."""

    train: str
    valid: str
    test: str


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """How a text becomes tokens."""

    tokens: Unit = "word"  # a word is what ASCII white space separates
    lowercase: bool = False
    min_count: Annotated[int, msgspec.Meta(ge=1)] = 1  # rarer types become <unk>
    vocabulary: Annotated[int, msgspec.Meta(ge=3)] | None = (
        None  # at most, <unk> and <eos> included
    )


class Corpus(TextOptions, CorpusPart):
    """A corpus that is read as text; encoded once, then mapped from the cache.

    A subclass gives ``read`` and ``digest``, and its own options beside those of a text.
    """

    @abstractmethod
    def read(self, place: Place) -> RawText: ...

    def make(self, place: Place) -> Text:
        """Return the encoded text; TextError where it cannot be read, or the cache not written."""
        folder = place.cache / "text" / self._key(place)
        if not _intact(folder):
            with _alone(folder):
                if not _intact(folder):  # another process may have been first
                    _write(folder, encode(self.read(place), self))
        return _load(folder)

    def _key(self, place: Place) -> str:
        """Return a hash of all that decides the ids; a file's name does not, its bytes do."""
        options = {field.name: getattr(self, field.name) for field in fields(self)}
        told = {name: value for name, value in options.items() if not isinstance(value, Path)}
        parts = [self.digest(place), type(self).__qualname__, repr(told)]
        sources = b"\x00".join(_sources(type(self)))
        return hashlib.blake2b("\x00".join(parts).encode() + sources, digest_size=16).hexdigest()


# ---------------------------------------------------------------- from text to ids


def encode(raw: RawText, options: TextOptions) -> Text:
    """Return a raw text as ids, with the vocabulary that its train split gives."""
    import numpy as np

    texts = {name: _checked(name, getattr(raw, name), options) for name in SPLITS}
    vocabulary = _vocabulary(_lower(texts["train"], options.lowercase), options)
    splits = {name: _split(texts[name], vocabulary, options) for name in SPLITS}
    counts = np.bincount(splits["train"].tokens, minlength=len(vocabulary))
    return Text(vocabulary, counts.astype(np.int64), **splits)


def _checked(name: str, text: str, options: TextOptions) -> str:
    """Return a split with a newline after each of its lines, the last one too."""
    if not text:
        raise TextError(f"the {name} split is empty")
    text = _unix(text)
    text = text if text.endswith("\n") else text + "\n"
    lower = _lower(text, options.lowercase)
    if (
        options.tokens == "word"
        and EOS_WORD in lower
        and EOS_WORD.encode() in lower.encode().split()
    ):
        raise TextError(
            f"the {name} split holds the word {EOS_WORD}, which marks sentence ends; rename it"
        )
    return text


def _vocabulary(text: str, options: TextOptions) -> Vocabulary:
    counts = Counter(_symbols(text, options.tokens))  # in order of first appearance
    counts.pop(_NEWLINE[options.tokens], None)
    counts.pop(UNK_WORD.encode(), None)
    kept = [symbol for symbol, count in counts.most_common() if count >= options.min_count]
    room = None if options.vocabulary is None else options.vocabulary - 2
    return Vocabulary((UNK_WORD, EOS_WORD, *map(_word, kept[:room])), options.tokens)


def _split(text: str, vocabulary: Vocabulary, options: TextOptions) -> Split:
    tokens = vocabulary.encode(text, lowercase=options.lowercase)
    return Split(tokens, len(text), len(text.encode()))


def _unix(text: str) -> str:
    return text.replace("\r\n", "\n")


def _lower(text: str, wanted: bool) -> str:
    return text.lower() if wanted else text


def _symbols(text: str, unit: Unit) -> Sequence[Symbol]:
    """Return the tokens of a text, newlines included."""
    if unit == "char":
        return text
    if unit == "byte":
        return text.encode()
    return text.encode().replace(b"\n", b" <eos> ").split()  # bytes split at ASCII spaces only


def _symbol(word: str, unit: Unit) -> Symbol:
    return word.encode() if unit == "word" else word if unit == "char" else int(word, 16)


def _word(symbol: Symbol) -> str:
    if isinstance(symbol, int):
        return f"{symbol:02x}"
    return symbol.decode() if isinstance(symbol, bytes) else symbol


# ---------------------------------------------------------------- the cache

_FILES = ("vocabulary.json", "counts.npy", *(f"{name}.npy" for name in SPLITS))


@dataclass(frozen=True)
class _Saved:
    words: tuple[str, ...]
    unit: Unit
    characters: tuple[int, ...]
    bytes: tuple[int, ...]


def _sources(kind: type) -> Iterator[bytes]:
    """Yield the source that decides the ids, so that an edited reader reads anew."""
    yield Path(__file__).read_bytes()
    readers = [c for c in kind.__mro__ if issubclass(c, Corpus) and c is not Corpus]
    for package in sorted({reader.__module__.partition(".")[0] for reader in readers}):
        file = getattr(sys.modules[package], "__file__", None)
        if file and Path(file).name == "__init__.py":
            yield from (path.read_bytes() for path in sorted(Path(file).parent.rglob("*.py")))
        elif file:
            yield Path(file).read_bytes()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes from writing the same folder."""
    with _clear_errors(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.with_suffix(".lock"))
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _clear_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TextError(
            f"cannot keep the encoded corpus in {folder}: {error.strerror or error}; "
            "make the folder writable, or name another one for the cache"
        ) from error


def _write(folder: Path, text: Text) -> None:
    """Write a text to its folder, whole or not at all."""
    with _clear_errors(folder.parent):
        draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".draft-"))
        try:
            _write_files(draft, text)
            shutil.rmtree(folder, ignore_errors=True)  # what was damaged
            draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def _write_files(folder: Path, text: Text) -> None:
    import numpy as np

    splits: list[Split] = [getattr(text, name) for name in SPLITS]
    for name, split in zip(SPLITS, splits, strict=True):
        np.save(folder / f"{name}.npy", split.tokens)
    np.save(folder / "counts.npy", text.counts)
    sizes = tuple(s.characters for s in splits), tuple(s.bytes for s in splits)
    saved = _Saved(text.vocabulary.words, text.vocabulary.unit, *sizes)
    (folder / "vocabulary.json").write_bytes(msgspec.json.encode(saved))
    digests = {name: _digest(folder / name) for name in _FILES}
    (folder / "digests.json").write_bytes(msgspec.json.encode(digests))


def _intact(folder: Path) -> bool:
    """Return whether all that was written there is there, to the bit."""
    try:
        digests = msgspec.json.decode((folder / "digests.json").read_bytes(), type=dict[str, str])
        return digests == {name: _digest(folder / name) for name in _FILES}
    except (OSError, msgspec.MsgspecError):
        return False


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _load(folder: Path) -> Text:
    import numpy as np

    saved = msgspec.json.decode((folder / "vocabulary.json").read_bytes(), type=_Saved)
    tokens = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in SPLITS)
    splits = map(Split, tokens, saved.characters, saved.bytes)
    counts = np.load(folder / "counts.npy")
    return Text(Vocabulary(saved.words, saved.unit), counts, *splits)
