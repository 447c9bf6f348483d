"""Hash tables of a backoff model, one per order, for scoring long texts without searching.

Each n-gram is one record of 16 bytes, at the slot to which its context and its word are hashed; the
slot number identifies it as a context in the next order. If several n-grams hash to one slot, one
gets the slot, the slot is marked, and the others go to a smaller table (a tier) after the first,
where they are hashed again, and so on. A lookup that finds another n-gram in an unmarked slot ends
there, so a whole text is looked up in a few passes, most of it in the first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmgrid_ngram.scoring.stream import Matches

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmgrid_ngram.scoring.backoff import BackoffLevel, BackoffModel

    Places = NDArray[np.intp]
    Keys = NDArray[np.uint64]
    Records = NDArray[np.void]

MIX = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio
FREE = np.uint64(0xFFFFFFFF * 0x9E3779B97F4A7C15 % 2**64)  # no n-gram has this key: ids are lower
MARK = np.uint32(1 << 31)  # sign bit of a weight (never negative): collisions
RECORD = np.dtype([("key", np.uint64), ("probability", np.float32), ("weight", np.float32)])
LEAST_BITS = 4  # of the places of a tier


def tables(model: BackoffModel) -> Iterator[Table]:
    """Yield the tables of the orders from 2 up."""
    names = np.arange(model.vocabulary)
    for level in model.levels[1:]:
        table, names = Table.of(level, names)
        yield table


@dataclass(frozen=True)
class _Tier:
    """One of several tables stored in a row: its first slot, and the shift that gives a slot."""

    begin: int
    shift: np.uint64

    def slots(self, keys: Keys) -> Places:
        slots = (keys >> self.shift).view(np.int64)
        if self.begin:
            slots += self.begin
        return slots


@dataclass(frozen=True)
class _Rows:
    """The slots assigned to m n-grams."""

    tiers: tuple[_Tier, ...]
    size: int  # how many slots all tiers have
    slots: Places  # (m,)
    marked: Places  # the slots to which more than one hashes


@dataclass(frozen=True)
class Table:
    """The n-grams of one order, with two to four slots each in the first tier."""

    tiers: tuple[_Tier, ...]
    records: Records  # of all tiers

    @classmethod
    def of(cls, level: BackoffLevel, contexts: Places) -> tuple[Table, Places]:
        """Return a table and the slot of each node, given the slots of its contexts."""
        words = level.nodes.words.astype(np.intp)
        keys = _keys(contexts.take(level.nodes.parents().astype(np.intp)), words)
        rows = _place(keys)
        records = np.full(rows.size, np.array((FREE, 0, 1), RECORD))
        records["key"][rows.slots] = keys
        records["probability"][rows.slots] = level.probabilities
        if len(level.backoffs):
            records["weight"][rows.slots] = level.backoffs
        records["weight"].view(np.uint32)[rows.marked] |= MARK
        return cls(rows.tiers, records), rows.slots

    def find(self, contexts: Places, words: Places) -> Matches:
        """Return which words follow their contexts, shape (n,) both, and how likely."""
        keys = _keys(contexts, words)
        slots = self.tiers[0].slots(keys)
        records = self.records.take(slots)
        hit = records["key"] == keys
        rest = np.flatnonzero(_marked(records) > hit)
        for there, which in self._others(keys.take(rest)):
            places = rest.take(which)
            slots[places], records[places], hit[places] = there, self.records.take(there), True
        which = np.flatnonzero(hit)
        right = records.take(which)
        return Matches(which, slots.take(which), right["probability"], np.abs(right["weight"]))

    def _others(self, keys: Keys) -> Iterator[tuple[Places, Places]]:
        """Yield the slots of keys that are not in the first tier, and which of them they are."""
        which, mixed = np.arange(len(keys)), keys
        for tier in self.tiers[1:]:
            if not len(which):
                break
            mixed = _mix(mixed)
            slots = tier.slots(mixed)
            records = self.records.take(slots)
            hit = records["key"] == keys
            found = np.flatnonzero(hit)
            yield slots.take(found), which.take(found)
            more = np.flatnonzero(_marked(records) > hit)
            which, keys, mixed = which.take(more), keys.take(more), mixed.take(more)


def _marked(records: Records) -> NDArray[np.bool_]:
    return np.less(records["weight"].view(np.int32), 0)


def _place(keys: Keys) -> _Rows:
    """Assign each key its own slot; of the keys with one slot, a tier keeps one."""
    slots = np.empty(len(keys), np.intp)
    tiers: list[_Tier] = []
    marked: list[Places] = []
    left, mixed, size = np.arange(len(keys)), keys, 0
    while len(left) or not tiers:
        bits = max((len(left) << 1 + len(tiers)).bit_length(), LEAST_BITS)  # ever emptier
        tiers.append(_Tier(size, np.uint64(64 - bits)))
        there = tiers[-1].slots(mixed)
        owner = np.empty(1 << bits, np.int32)
        owner[there - size] = left
        lost = np.flatnonzero(owner.take(there - size) != left)
        slots[left] = there
        marked.append(there.take(lost))
        left, mixed, size = left.take(lost), _mix(mixed.take(lost)), size + (1 << bits)
    return _Rows(tuple(tiers), size, slots, np.concatenate(marked))


def _keys(contexts: Places, words: Places) -> Keys:
    """Return a number for each word after each context, no two the same."""
    keys = (contexts << 32).view(np.uint64)
    keys |= words.view(np.uint64)
    keys *= MIX
    return keys


def _mix(keys: Keys) -> Keys:
    """Return other numbers, no two the same, whose high bits depend on all bits of the keys."""
    mixed = keys >> np.uint64(32)
    mixed ^= keys
    mixed *= MIX
    return mixed
