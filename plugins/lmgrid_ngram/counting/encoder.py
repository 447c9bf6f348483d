"""Encodes bytes as ids, and collects a vocabulary, without a loop over words.

Words are separated by ASCII white space, as in ``lmgrid.text``; a line ends with ``<eos>``. The
bytes of a word are read eight at a time and mixed into a key; a hash table with open addressing
gives the id of a key. A word of up to eight bytes is identified by its key and length; longer words
are compared byte by byte, so no two words are confused.

``lmgrid.vocabulary.Vocabulary`` reads the corpora of a grid, with lower case, characters and bytes
as units. This encoder reads words only, from raw bytes, many at a time; ARPA files and texts of
many millions of words need it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import as_strided

from lmgrid.vocabulary import EOS, EOS_WORD, UNK, UNK_WORD

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ids = NDArray[np.int32]
    Places = NDArray[np.intp]
    Bytes = NDArray[np.uint8]
    Keys = NDArray[np.uint64]

SPECIAL = (UNK_WORD.encode(), EOS_WORD.encode())  # the words with the ids UNK and EOS
BLOCK = 1 << 18  # bytes read at once
FREE = 0  # in the table: id 0 is not entered; a search for it ends at a free slot
_NEWLINE, _SPACE = 10, 32
_MIX = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio
_MASKS = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)  # the first n bytes of eight


class EncodingError(ValueError):
    """A text cannot be encoded; the message says why."""


@dataclass(frozen=True)
class Words:
    """The n words of a block of text."""

    chunks: Keys  # the eight bytes that begin at each place in the block
    begins: Places  # (n,)
    lengths: Places  # (n,) in bytes
    keys: Keys  # (n,)
    line_ends: Places  # (lines,) how many words come before each line's end

    def chunk(self, i: int, which: Places) -> Keys:
        """Return the i-th eight bytes of some words, zero after the word's end."""
        chunk = self.chunks[self.begins.take(which) + 8 * i]
        chunk &= _MASKS.take(self.lengths.take(which) - 8 * i, mode="clip")
        return chunk

    def spelled(self) -> list[bytes]:
        """Return the words as bytes."""
        bytes_ = np.append(self.chunks.astype(np.uint8), np.zeros(7, np.uint8)).tobytes()
        ends = (self.begins + self.lengths).tolist()
        return [bytes_[i:j] for i, j in zip(self.begins.tolist(), ends, strict=True)]

    def take(self, which: Places) -> Words:
        """Return some of the words."""
        return replace(
            self,
            begins=self.begins.take(which),
            lengths=self.lengths.take(which),
            keys=self.keys.take(which),
        )


def blocks(data: bytes) -> Iterator[Words]:
    """Yield the words of a text in blocks of whole lines; a last line without an end gets one."""
    low = 0
    while low < len(data):
        high = data.find(b"\n", low + BLOCK) + 1 or len(data)
        block = np.zeros(high - low + 10, np.uint8)
        block[1:-9] = np.frombuffer(data, np.uint8, high - low, low)
        block[0] = block[-9] = _SPACE
        if block[-10] != _NEWLINE:
            block[-9] = _NEWLINE
        yield split(block)
        low = high


def split(block: Bytes) -> Words:
    """Return the words of a block: white space, text, white space and eight bytes of padding."""
    white = block[:-8] == _SPACE
    white |= (block[:-8] - np.uint8(9)) < 5  # tab, newline, vertical tab, form feed, return
    edges = np.flatnonzero(white[1:] != white[:-1])
    edges += 1
    begins, ends = edges[::2], edges[1::2]
    lengths = ends - begins
    chunks = as_strided(block[:8].view("<u8"), (len(block) - 8,), (1,))
    keys = chunks[begins]
    keys &= _MASKS.take(lengths, mode="clip")
    keys *= _MIX
    keys += lengths.view(np.uint64)
    newlines = np.flatnonzero(block[:-8] == _NEWLINE)
    words = Words(
        chunks=chunks,
        begins=begins,
        lengths=lengths,
        keys=keys,
        line_ends=np.searchsorted(begins, newlines),
    )
    _mix_long(words)
    return words


def _mix_long(words: Words) -> None:
    """Replace the keys of words of more than eight bytes by keys of all their bytes."""
    i, long = 1, np.flatnonzero(words.lengths > 8)
    while len(long):
        words.keys[long] = (words.keys[long] ^ words.chunk(i, long)) * _MIX
        i += 1
        long = long[words.lengths[long] > 8 * i]


class Encoder:
    """A vocabulary of words as bytes that can grow, with their ids.

    >>> encoder = Encoder()
    >>> encoder.learn(b"a b a\\n").tolist()
    [2, 3, 2, 1]
    >>> encoder.encode(b"b c\\n").tolist()
    [3, 0, 1]
    """

    def __init__(self, words: Sequence[bytes] = SPECIAL) -> None:
        self._size = 0
        self._keys = np.zeros(1 << 10, np.uint64)  # by id, with room for more
        self._lengths = np.zeros(1 << 10, np.intp)
        self._begins = np.zeros(1 << 10, np.intp)  # in the pool
        self._pool = np.zeros(1 << 11, np.uint64)  # the bytes of all words, eight at a time
        self._filled = 0
        self._slots = np.zeros(1 << 12, np.int32)
        for block in blocks(b" ".join(words)):
            self._add(block)

    def __len__(self) -> int:
        return self._size

    def words(self) -> list[bytes]:
        """Return the words by id."""
        raw = self._pool[: self._filled].tobytes()
        begins = (self._begins[: self._size] * 8).tolist()
        lengths = self._lengths[: self._size].tolist()
        return [raw[begin : begin + n] for begin, n in zip(begins, lengths, strict=True)]

    def encode(self, data: bytes) -> Ids:
        """Return the ids of a text: ``<eos>`` at each line's end, ``<unk>`` for unknown words."""
        parts = [np.empty(0, np.int32)]
        for words in blocks(data):
            ids = self.find(words)
            parts.append(_with_line_ends(np.maximum(ids, UNK, out=ids), words))
        return np.concatenate(parts)

    def learn(self, data: bytes) -> Ids:
        """Return the ids of a text, adding its words to the vocabulary as they appear."""
        parts = [np.empty(0, np.int32)]
        for words in blocks(data):
            ids = self.find(words)
            while len(new := np.flatnonzero(ids < 0)):
                _, first = np.unique(words.keys[new], return_index=True)
                self._add(words.take(new[np.sort(first)]))
                ids[new] = self.find(words.take(new))
            if (ids == EOS).any():
                raise EncodingError(
                    f"the text holds the word {EOS_WORD}, which marks sentence ends; rename it"
                )
            parts.append(_with_line_ends(ids, words))
        return np.concatenate(parts)

    def find(self, words: Words) -> Ids:
        """Return the id of each word, -1 for one that is not in the vocabulary."""
        homes = self._homes(words.keys)
        ids = self._slots.take(homes).astype(np.intp)
        other = self._keys.take(ids) != words.keys
        other |= self._lengths.take(ids) != words.lengths
        long = np.flatnonzero(words.lengths > 8)
        other[long] |= ~self._same(ids.take(long), words, long)
        self._probe(ids, words, np.flatnonzero(other))
        return ids.astype(np.int32)

    def _homes(self, keys: Keys) -> Places:
        bits = len(self._slots).bit_length() - 1
        return (keys >> np.uint64(64 - bits)).view(np.int64)

    def _next(self, slots: Places, keys: Keys) -> Places:
        """Return the next slots to search; the step depends on the key (double hashing)."""
        return (slots + (2 * keys.view(np.int64) + 1)) & (len(self._slots) - 1)

    def _probe(self, ids: Places, words: Words, which: Places) -> None:
        """Search the table for the words that are not at their first slot."""
        slots = self._homes(words.keys.take(which))
        while len(which):
            found = self._slots.take(slots).astype(np.intp)
            same = self._keys.take(found) == words.keys.take(which)
            same &= self._lengths.take(found) == words.lengths.take(which)
            same &= self._same(found, words, which)
            ids[which] = np.where(same, found, -1)
            more = np.flatnonzero((found != FREE) > same)
            which = which.take(more)
            slots = self._next(slots.take(more), words.keys.take(which))

    def _same(self, ids: Places, words: Words, which: Places) -> NDArray[np.bool_]:
        """Return whether words have all bytes of their ids' words; keys and lengths are equal.

        The first eight bytes follow from the key and the other bytes.
        """
        same = np.ones(len(which), np.bool_)
        lengths = words.lengths.take(which)
        i, rest = 1, np.flatnonzero(lengths > 8)
        while len(rest):
            place = self._begins.take(ids.take(rest)) + i
            mine = self._pool.take(place, mode="clip")
            same[rest] &= mine == words.chunk(i, which.take(rest))
            i += 1
            rest = rest[lengths.take(rest) > 8 * i]
        return same

    def _add(self, words: Words) -> None:
        """Append words that are not in the vocabulary, each once."""
        count = len(words.keys)
        chunks = -(-words.lengths // 8)
        self._reserve(self._size + count, self._filled + int(chunks.sum()))
        ids = np.arange(self._size, self._size + count)
        begins = self._filled + np.cumsum(chunks) - chunks
        self._keys[ids], self._lengths[ids], self._begins[ids] = words.keys, words.lengths, begins
        for i in range(int(chunks.max(initial=0))):
            some = np.flatnonzero(chunks > i)
            self._pool[begins[some] + i] = words.chunk(i, some)
        self._size += count
        self._filled += int(chunks.sum())
        self._place(ids[ids != FREE].astype(np.int32))

    def _reserve(self, size: int, filled: int) -> None:
        """Enlarge the arrays as needed; a table more than a quarter full is rebuilt."""
        if size > len(self._keys):
            for name in ("_keys", "_lengths", "_begins"):
                setattr(self, name, np.resize(getattr(self, name), 2 * size))
        if filled > len(self._pool):
            self._pool = np.resize(self._pool, 2 * filled)
        if 4 * size > len(self._slots):
            self._slots = np.zeros(1 << (8 * size).bit_length(), np.int32)
            self._place(np.arange(1, self._size, dtype=np.int32))

    def _place(self, ids: Ids) -> None:
        """Enter ids in the table, each in the first free slot of its sequence."""
        slots = self._homes(self._keys.take(ids))
        while len(ids):
            free = self._slots.take(slots) == FREE
            self._slots[slots[free][::-1]] = ids[free][::-1]  # of two for one slot, the first
            left = self._slots.take(slots) != ids
            ids = ids[left]
            slots = self._next(slots[left], self._keys.take(ids))


def _with_line_ends(ids: Ids, words: Words) -> Ids:
    """Return the ids of a block with an ``<eos>`` after each line."""
    ends = words.line_ends + np.arange(len(words.line_ends))
    tokens = np.empty(len(ids) + len(ends), np.int32)
    is_word = np.ones(len(tokens), np.bool_)
    is_word[ends] = False
    tokens[ends] = EOS
    tokens[is_word] = ids
    return tokens


def by_frequency(words: list[bytes], tokens: Ids) -> tuple[list[bytes], Ids]:
    """Renumber words and, in place, tokens: by descending count, ties by first appearance."""
    counts = np.bincount(tokens, minlength=len(words))
    order = np.concatenate(([UNK, EOS], 2 + np.argsort(-counts[2:], kind="stable")))
    new = np.empty(len(words), np.int32)
    new[order] = np.arange(len(words), dtype=np.int32)
    for low in range(0, len(tokens), BLOCK):
        tokens[low : low + BLOCK] = new.take(tokens[low : low + BLOCK].astype(np.intp))
    return [words[i] for i in order.tolist()], tokens
