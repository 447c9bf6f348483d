"""The smoothings, against probabilities worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmgrid_ngram.kernels import zipfian
from lmgrid_ngram.model import NGramModel
from lmgrid_ngram.parts import NGramPart, Smoothing

PROPER: tuple[Smoothing, ...] = (
    "add-delta",
    "katz",
    "absolute",
    "witten-bell",
    "kneser-ney",
    "modified-kneser-ney",
    "jelinek-mercer",
)
A, B, C = 2, 3, 4  # words; 0 is <unk>, 1 is <eos>


def learn(tokens: list[int], part: NGramPart, vocabulary: int = 5) -> NGramModel:
    model = NGramModel(part, vocabulary)
    model.learn(np.array(tokens, np.int32))
    return model


def after(model: NGramModel, *context: int) -> np.ndarray:
    """Return p of each word after a context."""
    return np.exp(model.next_log_probs(np.array(context, np.int32)))


def test_students_opened_their_books() -> None:
    """With 4 of 10 and 1 of 10 after ``students opened their``, p is 0.4 and 0.1 (lecture 5)."""
    students, opened, their, books, exams, minds = range(2, 8)
    tokens = [
        id
        for last in [books] * 4 + [exams] + [minds] * 5
        for id in (students, opened, their, last, 1)
    ]
    p = after(learn(tokens, NGramPart(order=4, smoothing="mle"), 8), students, opened, their)
    assert p[[books, exams, minds]] == pytest.approx([0.4, 0.1, 0.5])
    assert p.sum() == pytest.approx(1)


def test_mle_has_nothing_for_the_unseen() -> None:
    """A word never seen after a seen context has p 0; so has every word after an unseen one."""
    model = learn([A, B, 1, A, C, 1], NGramPart(order=3, smoothing="mle"))
    assert after(model, A) == pytest.approx([0, 0, 0, 0.5, 0.5])
    assert after(model, C, A) == pytest.approx([0, 0, 0, 0, 0])


def test_add_delta_by_hand() -> None:
    """After ``<s> a``, seen twice, p is (c + 1) / (2 + 5); after an unseen context it is 1/5."""
    model = learn([A, B, 1, A, C, 1], NGramPart(order=3, smoothing="add-delta"))
    assert after(model, A) == pytest.approx(np.array([1, 1, 1, 2, 2]) / 7)
    assert after(model, C, A) == pytest.approx(np.full(5, 0.2))


def test_stupid_backoff_by_hand() -> None:
    """An unseen n-gram has 0.4 times the score of the next shorter one; words have c / N."""
    model = learn([A, B, 1, A, C, 1], NGramPart(order=3, smoothing="stupid-backoff"))
    assert after(model, A) == pytest.approx([0, 0.16 * 2 / 6, 0.16 * 2 / 6, 0.5, 0.5])
    assert after(model, C, A) == pytest.approx([0, 0.16 * 2 / 6, 0.16 * 2 / 6, 0.2, 0.2])


def test_absolute_discounting_by_hand() -> None:
    """``a b . a b . a c . c .``: the discount is n1 / (n1 + 2 n2), the rest goes by unigrams."""
    model = learn([A, B, 1, A, B, 1, A, C, 1, C, 1], NGramPart(order=2, smoothing="absolute"))
    # bigrams: <s>a 3, <s>c 1, ab 2, ac 1, b. 2, c. 2; n1 = 2, n2 = 3, so d = 2 / 8
    # unigrams: . 4, a 3, b 2, c 2 of 11; n1 = 0, so d = 1/2: 2/11 for <unk> alone
    unigram = np.array([2, 3.5, 2.5, 1.5, 1.5]) / 11
    assert np.exp([model.score(np.array([A, w]))[1] for w in range(5)]) == pytest.approx(
        [*(0.5 / 3 / (1 - 3 / 11) * unigram[:3]), 1.75 / 3, 0.75 / 3]
    )


def test_modified_kneser_ney_by_hand() -> None:
    """The bigram is interpolated with how many different words each word follows."""
    model = learn([A, B, 1, A, C, 1], NGramPart(order=2))
    # too few counts of counts: D = 0.5, 1, 1.5. Bigrams: <s>a 2, ab 1, ac 1, b. 1, c. 1.
    # continuations: . 2, a 1, b 1, c 1 of 5; freed 2.5/5, spread over 5 ids
    unigram = np.array([0, 1, 0.5, 0.5, 0.5]) / 5 + 0.5 / 5
    assert after(model, A) == pytest.approx(np.array([0, 0, 0, 0.25, 0.25]) + 0.5 * unigram)
    assert after(model) == pytest.approx(np.array([0, 0, 0.5, 0, 0]) + 0.5 * unigram)


@given(
    st.lists(st.integers(0, 6), min_size=2, max_size=80),
    st.lists(st.integers(0, 8), max_size=8),
    st.integers(1, 7),
    st.sampled_from(PROPER),
)
def test_probabilities_sum_to_one(
    text: list[int], context: list[int], order: int, smoothing: Smoothing
) -> None:
    """Probabilities sum to one after any context, with a vocabulary larger than the text."""
    model = learn(text, NGramPart(order=order, smoothing=smoothing), 9)
    assert after(model, *context).sum() == pytest.approx(1, abs=1e-6)


@given(st.lists(st.integers(0, 5), min_size=2, max_size=60), st.integers(1, 5))
def test_scores_are_the_predictions(text: list[int], order: int) -> None:
    """The score of each token equals its log-probability in the prediction at that place."""
    model = learn(text, NGramPart(order=order), 6)
    scores = model.score(np.array(text))
    for i, token in enumerate(text):
        assert after(model, *text[:i])[token] == pytest.approx(np.exp(scores[i]))


def test_jelinek_mercer_learns_what_to_trust() -> None:
    """Where the next word is certain, the weight of the highest order comes near one."""
    model = learn([A, B, C, 1] * 200, NGramPart(order=3, smoothing="jelinek-mercer"))
    assert after(model, A, B)[C] > 0.99


def test_min_counts_leave_rare_ngrams_out() -> None:
    """Bigrams seen once are left out; their probability is distributed by the unigrams."""
    tokens = [A, B, 1, A, B, 1, A, C, 1]
    model = learn(tokens, NGramPart(order=2, smoothing="witten-bell", min_counts=(2,)))
    # kept: <s> a 3, a b 2, b <eos> 2; after a: (2 + 2 p(b)) / 5 for b, 3/5 of p for the others
    unigram = after(learn(tokens, NGramPart(order=1, smoothing="witten-bell")))
    assert len(model.fitted.levels[1].nodes) == 3
    assert after(model, A)[C] == pytest.approx(0.6 * unigram[C])
    assert after(model, A).sum() == pytest.approx(1)


def test_pruning_takes_the_least_useful_first() -> None:
    """A higher threshold keeps fewer n-grams, and loses a little more of the training text."""
    tokens = zipfian(3_000, 40, seed=3)
    sizes, nats = [], []
    for threshold in (0.0, 1e-5, 1e-4):
        model = learn(tokens.tolist(), NGramPart(order=3, prune=threshold), 40)
        sizes.append(sum(len(level.nodes) for level in model.fitted.levels))
        nats.append(-model.score(tokens).mean())
        assert after(model, A, B).sum() == pytest.approx(1, abs=1e-6)
    assert sizes[0] > sizes[1] > sizes[2]
    assert nats[0] < nats[1] < nats[2]


def test_an_ngram_that_says_what_backing_off_says_is_pruned() -> None:
    """Words are drawn independently, so bigrams carry no information and nearly all are pruned."""
    random = np.random.default_rng(0)
    tokens = [int(t) for t in random.choice([1, A, B, C], size=20_000, p=[0.1, 0.5, 0.3, 0.1])]
    model = learn(tokens, NGramPart(order=2, smoothing="witten-bell", prune=1e-3))
    assert len(model.fitted.levels[1].nodes) <= 2


def test_kenlms_quirk_books_the_last_word_with_its_raw_count() -> None:
    """``last_ngram`` sorts as KenLM does: by last words, numbered by first appearance."""
    from lmgrid_ngram.smoothing.kenlm_quirk import last_ngram

    tokens = np.array([A, B, 1, B, A, 1, A, C, C, 1, B, C, 1], np.int32)
    assert last_ngram(tokens, 3, 5).tolist() == [A, C, C]
    assert last_ngram(tokens[:6], 3, 5).tolist() == [1, A, B]


@pytest.mark.parametrize(
    "options",
    [
        {"order": 0},
        {"delta": -1.0},
        {"smoothing": "mle", "prune": 0.1},
        {"smoothing": "add-delta", "min_counts": (2,)},
        {"min_counts": (2, 1)},
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    """Order 0, delta -1, cut-offs with mle, and decreasing cut-offs are errors."""
    said = r"order is 0|delta is -1|cannot redistribute|min_counts are"
    with pytest.raises(ValueError, match=said):
        NGramPart(**options)  # type: ignore[arg-type]
