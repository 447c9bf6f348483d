"""Kernels of the n-gram model: counting, estimating and scoring, by loops and by whole arrays."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmgrid.spec import Kernel
from lmgrid.vocabulary import EOS
from lmgrid.zipf import zipf_ranks
from lmgrid_ngram.counting.arrays import MemoryStore
from lmgrid_ngram.counting.count import count
from lmgrid_ngram.parts import NGramPart
from lmgrid_ngram.scoring.backoff import BackoffModel
from lmgrid_ngram.smoothing.discounts import counts_of_counts, modified
from lmgrid_ngram.smoothing.estimators import TrainingCounts, modified_kneser_ney

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmgrid.spec import LogProbs
    from lmgrid_ngram.parts import ZipfianTextPart

    Ids = NDArray[np.int32]


def zipfian(tokens: int, vocabulary: int, seed: int) -> Ids:
    """Return random ids, shape (tokens,): words with p proportional to 1 / rank, 5 % <eos>."""
    random = np.random.default_rng(seed)
    words = zipf_ranks(random, types=vocabulary - 2, size=tokens) + 2
    return np.where(random.random(tokens) < 0.05, EOS, words).astype(np.int32)


# ---------------------------------------------------------------- counting


def counting(size: ZipfianTextPart) -> Kernel:
    """Return the kernel that counts n-grams of all orders: a dictionary against sorted keys."""

    def sample(seed: int) -> tuple[Ids, int, int]:
        return zipfian(size.tokens, size.vocabulary, seed), size.order, size.vocabulary

    return Kernel(loop=count_by_loop, vector=count_by_sort, sample=sample)


def count_by_loop(tokens: Ids, order: int, vocabulary: int) -> tuple[NDArray[np.int64], ...]:
    """Return a table for each order k, shape (n-grams, k + 1): ids and count, sorted by ids."""
    counts: list[Counter[tuple[int, ...]]] = [Counter() for _ in range(order)]
    context: tuple[int, ...] = (EOS,)
    for token in tokens.tolist():
        counts[0][(token,)] += 1
        for k in range(1, min(order - 1, len(context)) + 1):
            counts[k][(*context[-k:], token)] += 1
        context = (EOS,) if token == EOS else (*context, token)[-order:]
    return tuple(
        np.array([(*ngram, c) for ngram, c in sorted(one.items())], dtype=np.int64).reshape(-1, k)
        for k, one in enumerate(counts, start=2)
    )


def count_by_sort(tokens: Ids, order: int, vocabulary: int) -> tuple[NDArray[np.int64], ...]:
    """Return the same tables from the trie of ``lmgrid_ngram.counting.count``."""
    levels = count(tokens, order, vocabulary).levels
    tables: list[NDArray[np.int64]] = []
    ngrams = np.zeros((1, 0), np.int64)  # of the level above
    for level in levels:
        parents = np.repeat(np.arange(len(ngrams)), np.diff(level.nodes.starts))
        ngrams = np.column_stack((ngrams[parents], level.nodes.words))
        table = np.column_stack((ngrams, level.counts)).astype(np.int64)
        tables.append(table[level.counts > 0])
    return tuple(tables)


# ---------------------------------------------------------------- estimating

ByNGram = dict[tuple[int, ...], float]


def estimating(size: ZipfianTextPart) -> Kernel:
    """Return the kernel that estimates ln p of every n-gram seen by modified Kneser-Ney."""

    def sample(seed: int) -> tuple[Ids, int, int]:
        return zipfian(size.tokens, size.vocabulary, seed), size.order, size.vocabulary

    return Kernel(estimate_by_loop, estimate_by_arrays, sample, tolerance=1e-9)


def estimate_by_arrays(tokens: Ids, order: int, vocabulary: int) -> tuple[LogProbs, ...]:
    """Return ln p of the n-grams of each order, sorted by their ids."""
    counts = count(tokens, order, vocabulary)
    training = TrainingCounts(tokens, counts, MemoryStore(), np.float64)
    levels = modified_kneser_ney(training, NGramPart(order=order)).levels
    return tuple(np.log(level.probabilities) for level in levels)


def estimate_by_loop(tokens: Ids, order: int, vocabulary: int) -> tuple[LogProbs, ...]:
    """Return the same from dictionaries, n-gram by n-gram."""
    tables = count_by_loop(tokens, order, vocabulary)
    raw = [{tuple(row[:-1]): row[-1] for row in table.tolist()} for table in tables]
    raw[0] |= {(w,): 0 for w in range(vocabulary) if (w,) not in raw[0]}
    lower: ByNGram = {(): 1 / vocabulary}
    logs = []
    for k in range(1, order + 1):
        lower = _interpolate(_continuations(raw, k) if k < order else raw[-1], lower)
        logs.append(np.log([lower[ngram] for ngram in sorted(lower)]))
    return tuple(logs)


def _continuations(raw: list[dict[tuple[int, ...], int]], k: int) -> dict[tuple[int, ...], int]:
    """Return continuation counts of k-grams; an n-gram that begins a sentence keeps its count."""
    seen = Counter(ngram[1:] for ngram in raw[k])
    return {g: raw[k - 1][g] if k > 1 and g[0] == EOS else seen[g] for g in raw[k - 1]}


def _interpolate(counts: dict[tuple[int, ...], int], lower: ByNGram) -> ByNGram:
    """Return (c - D(c)) / c(h) + gamma(h) p(w | h') for each n-gram."""
    d = modified(counts_of_counts(np.array(list(counts.values()), np.int32))).tolist()
    total: Counter[tuple[int, ...]] = Counter()
    mass: dict[tuple[int, ...], float] = {}
    for ngram, c in counts.items():
        total[ngram[:-1]] += c
        mass[ngram[:-1]] = mass.get(ngram[:-1], 0.0) + d[min(c, 3)]
    p = {}
    for ngram, c in counts.items():
        context = ngram[:-1]
        gamma = mass[context] / total[context]
        p[ngram] = (c - d[min(c, 3)]) / total[context] + gamma * lower[ngram[1:]]
    return p


# ---------------------------------------------------------------- scoring


def scoring(size: ZipfianTextPart) -> Kernel:
    """Return the kernel that computes ln p of each token of a second text."""

    def sample(seed: int) -> tuple[BackoffModel, NGramTables, Ids]:
        tokens = zipfian(size.tokens, size.vocabulary, seed)
        counts = count(tokens, size.order, size.vocabulary)
        training = TrainingCounts(tokens, counts, MemoryStore())
        model = modified_kneser_ney(training, NGramPart(order=size.order))
        return model, tabulate(model), zipfian(size.tokens, size.vocabulary, seed + 1)

    return Kernel(score_by_loop, score_by_arrays, sample, tolerance=1e-9)


@dataclass(frozen=True)
class NGramTables:
    """A backoff model as two dictionaries."""

    probabilities: ByNGram
    backoffs: ByNGram


def tabulate(model: BackoffModel) -> NGramTables:
    """Return the probability and the backoff weight of each n-gram of a model."""
    p: ByNGram = {}
    weights: ByNGram = {}
    ngrams: list[tuple[int, ...]] = [()]
    for level in model.levels:
        parents, words = level.nodes.parents().tolist(), level.nodes.words.tolist()
        ngrams = [(*ngrams[i], word) for i, word in zip(parents, words, strict=True)]
        p |= dict(zip(ngrams, level.probabilities.tolist(), strict=True))
        weights |= dict(zip(ngrams, level.backoffs.tolist(), strict=False))
    return NGramTables(p, weights)


def score_by_loop(model: BackoffModel, tables: NGramTables, tokens: Ids) -> LogProbs:
    """Back off from the longest context to shorter ones, token by token."""
    p, weights = tables.probabilities, tables.backoffs
    scores = np.empty(len(tokens))
    context: tuple[int, ...] = (EOS,)[: model.order - 1]
    for i, token in enumerate(tokens.tolist()):
        weight, rest = 1.0, context
        while (*rest, token) not in p:
            weight *= weights.get(rest, 1.0)
            rest = rest[1:]
        scores[i] = np.log(weight * p[(*rest, token)])
        begin = (EOS,) if token == EOS else (*context, token)
        context = begin[max(len(begin) - model.order + 1, 0) :]
    return scores


def score_by_arrays(model: BackoffModel, tables: NGramTables, tokens: Ids) -> LogProbs:
    """Score all tokens at once, in one pass per order."""
    return model.score(tokens)
