"""The contract tests of ``lmgrid.testing``, run on the n-gram model under every smoothing."""

from __future__ import annotations

import numpy as np
import pytest

from lmgrid.testing import EACH_VOCABULARY, LanguageModelContract, sample_tokens
from lmgrid_ngram.parts import NGramPart


class TestModifiedKneserNey(LanguageModelContract):
    part = NGramPart(order=5)


class TestUnigram(LanguageModelContract):
    part = NGramPart(order=1)


class TestAbsolute(LanguageModelContract):
    part = NGramPart(order=3, smoothing="absolute")


class TestKatz(LanguageModelContract):
    part = NGramPart(order=3, smoothing="katz")


class TestWittenBell(LanguageModelContract):
    part = NGramPart(order=4, smoothing="witten-bell")


class TestKneserNey(LanguageModelContract):
    part = NGramPart(order=3, smoothing="kneser-ney")


class TestJelinekMercer(LanguageModelContract):
    part = NGramPart(order=3, smoothing="jelinek-mercer")


class TestCutOffAndPruned(LanguageModelContract):
    part = NGramPart(order=4, min_counts=(1, 2), prune=1e-6)


class TestAddDelta(LanguageModelContract):
    part = NGramPart(order=2, smoothing="add-delta", delta=0.1)


class TestStupidBackoff(LanguageModelContract):
    part = NGramPart(order=3, smoothing="stupid-backoff")


class TestMle(LanguageModelContract):
    part = NGramPart(order=3, smoothing="mle")

    @EACH_VOCABULARY
    @pytest.mark.parametrize("length", [0, 1, 3, 40])
    def test_probabilities_sum_to_one(self, size: int, length: int) -> None:
        """After a seen context they sum to one; after an unseen one all are zero."""
        context = sample_tokens(size, seed=3, count=length)
        model = self.fitted(size)
        total = np.exp([model.score(np.append(context, v))[-1] for v in range(size)]).sum()
        assert total == pytest.approx(0, abs=0) or total == pytest.approx(1, abs=1e-6)
