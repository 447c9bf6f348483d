"""Scores a stream of tokens with one pass per order, by search or by hash tables.

An n-gram found at one token is the context of the next token, so each order is looked up only for
the tokens whose context the model has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from lmgrid.vocabulary import EOS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmgrid_ngram.scoring.backoff import BackoffLevel

    Places = NDArray[np.intp]
    Floats = NDArray[np.float64]
    Counter = NDArray[np.int8]
    Weights = NDArray[np.float32]


@dataclass(frozen=True)
class Matches:
    """The m n-grams that one order has of the n that were looked up."""

    which: Places  # (m,) their places among the n, ascending
    nodes: Places  # (m,) their ids as contexts in the next order
    probabilities: Weights  # (m,)
    weights: Weights  # (m,) their backoff weights; unused in the highest order


class Lookup(Protocol):
    """The n-grams of one order, which can be looked up."""

    def find(self, contexts: Places, words: Places) -> Matches:
        """Look up n-grams by their contexts and last words, shape (n,) both."""
        ...


def probabilities(
    stream: Places, first: BackoffLevel, lookups: Sequence[Lookup], known: Counter | None
) -> Floats:
    """Return p of each token but the first, shape (n - 1,).

    ``first`` holds the unigrams, ``lookups`` the orders from 2 up. Contexts that the model does not
    have multiply by no backoff weight. ``known``, shape (n - 1,), if given, is increased by the
    number of contexts of each token that the model has.
    """
    words = stream[1:]
    p = first.probabilities.take(words).astype(np.float64)
    if not lookups:
        return p
    at = np.arange(len(words))  # the tokens whose context the model has
    here, contexts = words, stream[:-1]
    weights = first.backoffs.take(contexts)
    for lookup in lookups:
        found = lookup.find(contexts, here)
        q = p.take(at)
        q *= weights
        q[found.which] = found.probabilities
        p[at] = q
        if known is not None:
            known[at] += 1
        if lookup is lookups[-1]:
            break
        on = np.flatnonzero(here.take(found.which) != EOS)  # no context reaches across an <eos>
        at = at.take(found.which.take(on)) + 1
        if len(at) and at[-1] == len(words):
            at, on = at[:-1], on[:-1]
        here, contexts, weights = words.take(at), found.nodes.take(on), found.weights.take(on)
    return p


def context_lengths(stream: Places, reach: int) -> NDArray[np.int64]:
    """Return how many ids, up to ``reach``, come before each position in its sentence."""
    position = np.arange(len(stream))
    begins = np.where(stream == EOS, position, 0)
    last = np.maximum.accumulate(begins)
    lengths = np.empty(len(stream), np.int64)
    lengths[:1] = 0
    lengths[1:] = position[1:] - last[:-1]
    return np.minimum(lengths, reach)
