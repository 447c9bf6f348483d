"""Decides which of several models may be the best, from the losses of their runs on one text.

The difference of two mean losses has two sources of variance:

- The text. Its variance is estimated from the differences on consecutive blocks of the text, which
  are autocorrelated (``series_variance``).
- The seed. Its variance is estimated for each model from its own runs, and raised where the other
  models' runs say that so few runs underestimate it (``seed_variances``).

Every pair of models is tested (``p_values``), and a stepwise procedure keeps the models that no
other one is better than (``confidence_set``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

LEVEL = 0.05  # probability that a set lacks the best model
MIN_RUNS = 3  # of a model whose scores depend on the seed
COSINES = 6  # degrees of freedom of the variance of the text
MAX_PRIOR = 5.0  # degrees of freedom that the variances of all models may add to that of one
NO_VARIANCE = 1e-24  # nats²; what rounding leaves of no variance at all
LEAST_VARIANCE = 1e-5  # of the mean variance; a smaller one has no finite logarithm to average

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RunLosses:
    """The losses of the runs of one model on the consecutive blocks of a text.

    ``seeded`` says whether the runs differ by a seed. A model without a seed has one run.
    """

    blocks: Floats  # (runs, blocks), mean nats per token
    seeded: bool


@dataclass(frozen=True, eq=False)
class Variances:
    """Estimated variances, and the degrees of freedom of each estimate; arrays of one shape."""

    variance: Floats
    degrees_of_freedom: Floats


def confidence_set(models: Sequence[RunLosses], level: float = LEVEL) -> frozenset[int]:
    """Return the indexes of the models that may have the lowest expected loss.

    In a share 1 - ``level`` of such comparisons, the set has every model whose expected loss is the
    lowest. All models have the same number of blocks, of the same text.

    >>> losses = np.random.default_rng(0).normal(5.0, 0.1, (1, 50))
    >>> models = [RunLosses(losses, False), RunLosses(losses + 0.2, False)]
    >>> sorted(confidence_set(models))
    [0]
    """
    return not_worse(p_values(models), level) if models else frozenset()


def not_worse(p: Floats, level: float = LEVEL) -> frozenset[int]:
    """Return the indexes that remain after a stepwise test of all pairs, given ``p_values``.

    Of m that are left, each whose p against another one is below ``level`` / (m (m - 1)) is
    removed. This is repeated until none is: Bonferroni's correction over the ordered pairs,
    stepwise as in Holm (1979). The probability to remove any of the best is at most ``level``.
    """
    kept = np.arange(len(p))
    while len(kept) > 1:
        smallest = p[np.ix_(kept, kept)].min(axis=1)
        worse = smallest < level / (len(kept) * (len(kept) - 1))
        if not worse.any():
            break
        kept = kept[~worse]
    return frozenset(map(int, kept))


def p_values(models: Sequence[RunLosses]) -> Floats:
    """Return p, shape (m, m): p[i, k] tests that model i has no higher expected loss than k.

    These are one-sided t tests. The degrees of freedom are those of Welch (1947) and Satterthwaite
    (1946) for the text and both seeds, but no more than those of both seeds alone. p[i, i] is 1.
    """
    means = np.array([model.blocks.mean(axis=0) for model in models])  # (m, blocks)
    gaps = means[:, None] - means[None]  # (m, m, blocks)
    text, seeds = series_variance(gaps), seed_variances(models)
    s = seeds.variance / [len(model.blocks) for model in models]  # of the mean over the runs
    s_terms = s**2 / seeds.degrees_of_freedom
    both, both_terms = s[:, None] + s, s_terms[:, None] + s_terms
    variance = text.variance + both
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = text.variance**2 / text.degrees_of_freedom + both_terms
        freedom = np.fmin(variance**2 / terms, both**2 / both_terms)  # fmin passes over 0 / 0
        t = gaps.mean(axis=-1) / np.sqrt(variance)
    # Without any variance a difference is certain, and no difference is none.
    p = np.where(variance > NO_VARIANCE, stats.t.sf(t, freedom), gaps.mean(axis=-1) <= 0)
    np.fill_diagonal(p, 1.0)
    return np.asarray(p, dtype=np.float64)


def series_variance(series: Floats, cosines: int = COSINES) -> Variances:
    """Return the variance of the mean of each autocorrelated series, shape (..., n) to (...).

    It is the equal-weighted cosine estimator: the mean square of the first cosine transforms, which
    has a t distribution with that many degrees of freedom (Lazarus, Lewis, Stock & Watson, 2018).
    """
    n = series.shape[-1]
    frequencies = np.arange(1, cosines + 1)[:, None]
    basis = np.sqrt(2 / n) * np.cos(np.pi * frequencies * (np.arange(n) + 0.5) / n)
    variance = np.square(series @ basis.T).mean(axis=-1) / n
    return Variances(variance, np.full(variance.shape, float(cosines)))


def seed_variances(models: Sequence[RunLosses]) -> Variances:
    """Return the variance of the loss of one run of each model over seeds; 0 without a seed.

    The variance of few runs is often far too small. So each is raised to its weighted mean with
    the mean of all variances, where that is larger. The weight is the degrees of freedom of the
    prior distribution of variances that Smyth (2004) estimates from their logarithms, but at most
    ``MAX_PRIOR``: variances of different models need not have a common distribution.
    """
    variance, freedom = np.zeros(len(models)), np.ones(len(models))
    seeded = np.array([model.seeded and len(model.blocks) > 1 for model in models], dtype=bool)
    for i, model in enumerate(models):
        if not seeded[i]:
            continue
        losses = model.blocks.mean(axis=1)
        variance[i], freedom[i] = losses.var(ddof=1), len(losses) - 1
    if seeded.sum() > 1 and variance.any():
        own, degrees = variance[seeded], freedom[seeded]
        prior = prior_degrees_of_freedom(own, degrees)
        moderated = (prior * own.mean() + degrees * own) / (prior + degrees)
        variance[seeded] = np.maximum(own, moderated)
        freedom[seeded] = degrees + prior
    return Variances(variance, freedom)


def prior_degrees_of_freedom(variances: Floats, degrees_of_freedom: Floats) -> float:
    """Return the degrees of freedom of the prior of variances (Smyth, 2004), at most MAX_PRIOR.

    The logarithm of an estimated variance varies by trigamma(d / 2) through its d degrees of
    freedom, and by trigamma(prior / 2) because the true variances differ.
    """
    half = degrees_of_freedom / 2
    logs = np.log(np.maximum(variances, LEAST_VARIANCE * variances.mean()))
    centred = logs - special.digamma(half) + np.log(half)
    excess = float(centred.var(ddof=1) - special.polygamma(1, half).mean())
    if excess <= special.polygamma(1, MAX_PRIOR / 2):
        return MAX_PRIOR
    return 2 * float(
        optimize.brentq(lambda x: special.polygamma(1, x) - excess, 1e-6, MAX_PRIOR / 2)
    )
