"""Caches encoded corpora on disk: a text is encoded once, then memory-mapped."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from filelock import FileLock

from lmgrid.checksum import sha256
from lmgrid.files import DRAFT, replace_folder
from lmgrid.spec import CorpusPart, Place
from lmgrid.text import TextCorpusPart, TextError
from lmgrid.vocabulary import SPLITS, Split, Text, Vocabulary


def load_text(corpus: CorpusPart, place: Place, key: str) -> Text:
    """Return an encoded corpus, from the cache if it is there.

    ``key`` must differ wherever the ids may differ. A corpus whose part is not a
    ``TextCorpusPart`` is encoded again each time. Raises TextError if the cache cannot be written.
    """
    if not isinstance(corpus, TextCorpusPart):
        return corpus.make(place)
    folder = place.cache / "text" / key
    try:
        return _load(folder) or _fill(folder, corpus, place)
    except OSError as error:
        raise TextError(
            f"cannot keep the encoded corpus in {folder.parent}: {error}; "
            "make the folder writable, or name another one in LMGRID_CACHE"
        ) from error


def _fill(folder: Path, corpus: TextCorpusPart, place: Place) -> Text:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        text = _load(folder)  # another process may have been first
        if text is None:
            text = corpus.make(place)
            _write(folder, text)
    return text


@dataclass(frozen=True)
class _Saved:
    vocabulary: Vocabulary
    sizes: tuple[tuple[int, int, int], ...]  # tokens, characters, bytes of each split
    sha256: str  # of the file of tokens


def _write(folder: Path, text: Text) -> None:
    """Write a text to its folder completely or not at all, replacing a damaged one.

    It is not flushed to disk, since a damaged folder is noticed and written again.
    """
    draft = folder.with_name(f"{DRAFT}{folder.name}")
    shutil.rmtree(draft, ignore_errors=True)  # left by a process that was killed
    draft.mkdir()
    try:
        _write_files(draft, text)
        replace_folder(draft, folder, durable=False)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write_files(folder: Path, text: Text) -> None:
    splits: list[Split] = [getattr(text, name) for name in SPLITS]
    np.save(folder / "tokens.npy", np.concatenate([split.tokens for split in splits]))
    sizes = tuple((len(split.tokens), split.characters, split.bytes) for split in splits)
    saved = _Saved(text.vocabulary, sizes, sha256(folder / "tokens.npy"))
    body = msgspec.json.encode(saved)
    (folder / "text.json").write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)


def _load(folder: Path) -> Text | None:
    """Return the text in a folder; None if it is missing or a hash does not match."""
    try:
        digest, _, body = (folder / "text.json").read_bytes().partition(b"\n")
        if hashlib.sha256(body).hexdigest().encode() != digest:
            return None
        saved = msgspec.json.decode(body, type=_Saved)
        if sha256(folder / "tokens.npy") != saved.sha256:
            return None
    except OSError:
        return None
    tokens = np.load(folder / "tokens.npy", mmap_mode="r")
    parts = np.split(tokens, np.cumsum([size[0] for size in saved.sizes])[:-1])
    splits = [Split(part, *size[1:]) for part, size in zip(parts, saved.sizes, strict=True)]
    counts = np.bincount(parts[0], minlength=len(saved.vocabulary)).astype(np.int64)
    return Text(saved.vocabulary, counts, *splits)
