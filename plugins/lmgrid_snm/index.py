"""Indexes the features of a text (n-grams and skip-grams) and the links from them to words.

A feature is a shorter feature (its parent) and one more word further back, so its key is one
integer: the parent's id times V, plus the word. A link's key is its feature's id times V, plus the
target. Ids are ranks of keys, template after template; each template is counted by sorting.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from lmgrid.vocabulary import EOS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmgrid.spec import Tokens

    Keys = NDArray[np.int64]  # ascending
    Ids = NDArray[np.int64]  # -1: there is none
    Links = NDArray[np.int32]  # likewise


@dataclass(frozen=True)
class Template:
    """A kind of feature: the feature of template ``parent`` and the word ``reach`` tokens back."""

    parent: int  # index of the parent; the first template, without words, is its own
    reach: int


def templates(*, order: int, remote: int, skip: int, adjacent: int) -> tuple[Template, ...]:
    """Return the empty feature, the n-grams, and the skip-grams, in this order.

    The arguments are described in ``SNMPart``. Each template comes after its parent.

    >>> templates(order=2, remote=0, skip=0, adjacent=0)  # no word, and the last word
    (Template(parent=0, reach=0), Template(parent=0, reach=1))
    """
    made = [Template(max(k - 1, 0), k) for k in range(order)]
    for near in range(min(adjacent, order - 2) + 1):
        for skipped in range(1, skip + 1):
            parent = near
            for far in range(1, min(remote, order - 1 - near) + 1):
                made.append(Template(parent, near + skipped + far))
                parent = len(made) - 1
    return tuple(made)


@dataclass(frozen=True)
class Stream:
    """Tokens after an ``<eos>``, and the length of each context, back to the last ``<eos>``."""

    tokens: NDArray[np.int64]  # (n + 1,)
    sight: NDArray[np.int64]  # (n,) at least 1

    @classmethod
    def of(cls, tokens: Tokens) -> Stream:
        stream = np.concatenate(([EOS], tokens)).astype(np.int64)
        places = np.arange(len(stream))
        ends = np.maximum.accumulate(np.where(stream == EOS, places, 0))
        return cls(stream, places[1:] - ends[:-1])

    def __len__(self) -> int:
        return len(self.sight)

    def part(self, low: int, high: int) -> Stream:
        """Return tokens ``low`` to ``high`` and the one before; contexts keep their lengths."""
        return Stream(self.tokens[low : high + 1], self.sight[low:high])

    def keys(self, template: Template, parents: Ids, vocabulary: int) -> tuple[Ids, Keys]:
        """Return the tokens that may have a feature of a template, and the keys of the features.

        In a part of a stream, a feature with a word from before the part is left out.
        """
        if not template.reach:
            return np.arange(len(self)), np.zeros(len(self), np.int64)
        here = np.flatnonzero((self.sight >= template.reach) & (parents >= 0))
        within = np.searchsorted(here, template.reach - 1)  # from here on the word is in the part
        here = here[within:]
        words = self.tokens[here + 1 - template.reach]
        return here, parents[here] * vocabulary + words


@dataclass(frozen=True)
class Index:
    """The keys of all features and links of a text, one sorted array per template."""

    templates: tuple[Template, ...]
    vocabulary: int
    features: tuple[Keys, ...]
    links: tuple[Keys, ...]

    @cached_property
    def first_features(self) -> tuple[int, ...]:
        """The id of each template's first feature, and at the end the number of features."""
        return tuple(accumulate(map(len, self.features), initial=0))

    @cached_property
    def first_links(self) -> tuple[int, ...]:
        """The id of each template's first link, and at the end the number of links."""
        return tuple(accumulate(map(len, self.links), initial=0))

    def active(self, stream: Stream) -> Ids:
        """Return the feature of each template before each token, shape (templates, n)."""
        found = np.full((len(self.templates), len(stream)), -1, np.int64)
        for t, template in enumerate(self.templates):
            here, keys = stream.keys(template, found[template.parent], self.vocabulary)
            found[t, here] = _rank(self.features[t], keys, self.first_features[t])
        return found

    def row(self, template: int, feature: int) -> tuple[Ids, slice]:
        """Return the words that a feature has links to, and the ids of the links."""
        keys = self.links[template]
        low = feature * self.vocabulary
        first, end = np.searchsorted(keys, [low, low + self.vocabulary])
        start = self.first_links[template]
        return keys[first:end] - low, slice(start + int(first), start + int(end))

    def linked(self, features: Ids, targets: NDArray[np.int64]) -> Ids:
        """Return the link from each feature (templates, n) to its target (n,), same shape."""
        found = np.full(features.shape, -1, np.int64)
        for t, row in enumerate(features):
            here = np.flatnonzero(row >= 0)
            keys = row[here] * self.vocabulary + targets[here]
            found[t, here] = _rank(self.links[t], keys, self.first_links[t])
        return found


def _rank(keys: Keys, wanted: Keys, first: int) -> Ids:
    """Return the id of each wanted key, -1 where there is none."""
    if not len(keys):
        return np.full(len(wanted), -1, np.int64)
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, places + first, -1)


@dataclass(frozen=True)
class Counted:
    """The links of a text: their index, their counts, and those of each token."""

    index: Index
    counts: NDArray[np.int64]  # (links,) how often each occurs
    instances: Links  # (n, templates) the links of each token


def count(tokens: Tokens, kinds: tuple[Template, ...], vocabulary: int) -> Counted:
    """Return the links of a text and how often each occurs."""
    stream = Stream.of(tokens)
    instances = np.full((len(stream), len(kinds)), -1, np.int32)
    found: list[Ids] = []  # the feature of each token, by template
    features: list[Keys] = []
    links: list[Keys] = []
    counts: list[NDArray[np.int64]] = []
    first_feature = first_link = 0
    for t, template in enumerate(kinds):
        # the features of this template
        parents = found[template.parent] if found else np.zeros(0, np.int64)
        here, wanted = stream.keys(template, parents, vocabulary)
        keys, ranks = np.unique(wanted, return_inverse=True)
        found.append(np.full(len(stream), -1, np.int64))
        found[t][here] = ranks + first_feature
        features.append(keys)
        first_feature += len(keys)
        # their links to the next words
        wanted = found[t][here] * vocabulary + stream.tokens[here + 1]
        keys, ranks, times = np.unique(wanted, return_inverse=True, return_counts=True)
        instances[here, t] = ranks + first_link
        links.append(keys)
        counts.append(times)
        first_link += len(keys)
    index = Index(
        templates=kinds,
        vocabulary=vocabulary,
        features=tuple(features),
        links=tuple(links),
    )
    return Counted(index=index, counts=np.concatenate(counts), instances=instances)
