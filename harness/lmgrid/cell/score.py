"""Scores a split with a model, each token once: the sums that perplexity is computed from."""

from __future__ import annotations

import math

import numpy as np

from lmgrid.machine.clock import Stopwatch
from lmgrid.result import Score
from lmgrid.spec import Diverged, LanguageModel, LogProbs, Predicts
from lmgrid.vocabulary import UNK, Split

BLOCKS = 50  # shares of a split whose mean losses are recorded
CHECKED_CONTEXTS = 4  # contexts after which the sum of all probabilities is checked
CHECKED_TOKENS = 400  # the longest of them
SUM_TOLERANCE = 1e-3


class ProtocolViolation(Exception):
    """A model's scores are not what the protocol asks for, so they are not recorded."""


def check_distribution(model: LanguageModel, split: Split, sums: tuple[int, ...] = (1,)) -> None:
    """Check that some predictions sum to an allowed value and agree with the scores.

    ProtocolViolation if they do not. A model without ``next_log_probs`` is not checked.
    """
    if not isinstance(model, Predicts):
        return
    tokens = split.tokens
    for k in np.linspace(0, min(len(tokens), CHECKED_TOKENS) - 1, CHECKED_CONTEXTS).astype(int):
        logs = model.next_log_probs(tokens[:k])
        total = float(np.exp(logs).sum())
        said, score = float(logs[tokens[k]]), float(model.score(tokens[: k + 1])[k])
        summed = any(abs(total - allowed) < SUM_TOLERANCE for allowed in sums)
        if not (summed and _agree(said, score)):
            raise ProtocolViolation(
                f"after {k} tokens of validation the probabilities sum to {total:.6f}, and the "
                f"next token has {math.exp(said):.6g} there but {math.exp(score):.6g} when scored"
            )


def _agree(one: float, two: float) -> bool:
    return one == two or abs(one - two) < SUM_TOLERANCE * max(1.0, abs(one))


def measure(model: LanguageModel, split: Split, watch: Stopwatch | None = None) -> Score:
    """Score each token of a split once; ProtocolViolation unless that gives one number a token."""
    tokens = split.tokens
    if watch is None:
        logs = model.score(tokens)
    else:
        with watch.running():
            logs = model.score(tokens)
    if logs.shape != tokens.shape:
        raise ProtocolViolation(f"score returned shape {logs.shape} for {len(tokens)} tokens")
    if not (logs < np.inf).all():  # NaN or infinity
        first = int((~(logs < np.inf)).argmax())
        raise Diverged(f"score returned {logs[first]} at token {first}")
    known = tokens != UNK
    return Score(
        tokens=len(tokens),
        nats=_total(logs),
        unknown_tokens=int(len(tokens) - known.sum()),
        known_nats=_total(logs[known]),
        zero_probability_tokens=int(np.isneginf(logs).sum()),
        characters=split.characters,
        bytes=split.bytes,
        blocks=_block_means(logs),
    )


def _total(logs: LogProbs) -> float | None:
    total = -float(logs.sum(dtype=np.float64))
    return total if math.isfinite(total) else None


def _block_means(logs: LogProbs) -> tuple[float | None, ...]:
    """Return the mean loss of each of BLOCKS consecutive blocks, shape (BLOCKS,).

    Where the length is not a multiple of BLOCKS, the first blocks are one token longer.
    """
    count = min(BLOCKS, len(logs))
    length, longer = divmod(len(logs), count)
    blocks = np.arange(count)
    starts = blocks * length + np.minimum(blocks, longer)
    means = -np.add.reduceat(logs, starts) / np.diff(starts, append=len(logs))
    if np.isfinite(means).all():
        return tuple(means.tolist())
    return tuple(mean if math.isfinite(mean) else None for mean in means.tolist())
