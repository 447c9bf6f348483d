"""The metafeatures of a link, as places in a hash table of weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]

BUCKETS = 128  # more than twice the bits of a count
TARGET, KIND = 32, 56  # bits of a target, and of a metafeature without its kind


@dataclass(frozen=True)
class Links:
    """m links, with the counts from which their metafeatures are made."""

    templates: Integers  # (m,)
    features: Integers  # (m,)
    targets: Integers  # (m,)
    feature_counts: Integers  # (m,) at least 1
    link_counts: Integers  # (m,) at least 1

    @property
    def frequencies(self) -> NDArray[np.float64]:
        """The relative frequency of each link, C / C*, (m,)."""
        return self.link_counts / self.feature_counts


def bucket(counts: Integers) -> Integers:
    """Return ceil(2 log2 c) of each count: buckets of half an octave."""
    return np.ceil(2 * np.log2(counts) - 1e-9).astype(np.int64)


@dataclass(frozen=True)
class Metafeatures:
    """Computes the metafeatures of links and the places of their weights in the table."""

    lexical: bool
    slots: int

    def places(self, links: Links) -> list[Integers]:
        """Return the place of each metafeature of each link, a list of arrays (m,)."""
        template = links.templates
        of_feature = template * BUCKETS + bucket(links.feature_counts)
        of_link = bucket(links.link_counts)
        kinds = [
            template,
            of_feature,
            template * BUCKETS + of_link,
            of_feature * BUCKETS + of_link,
        ]
        if self.lexical:
            kinds += [links.features, (template << TARGET) + links.targets]
        return [self._hash(values, kind) for kind, values in enumerate(kinds)]

    def _hash(self, values: Integers, kind: int) -> Integers:
        """Return a place for each value: two rounds of multiplying and shifting (splitmix64)."""
        mixed = values.astype(np.uint64)
        mixed += np.uint64(kind << KIND)
        mixed *= np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
        mixed *= np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(32)
        mixed %= np.uint64(self.slots)
        return mixed.view(np.int64)
