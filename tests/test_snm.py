"""The sparse non-negative matrix model: the paper's equations, on cases worked out by hand."""

from __future__ import annotations

import math
from collections import Counter
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest

from lmgrid.grid import Cell, GridError
from lmgrid.gridfile.reader import read_grid
from lmgrid.plugin.registry import Registry
from lmgrid.spec import FIRST_STEPS, Context, Recipe, Tokens
from lmgrid.testing import sample_tokens, sample_vocabulary
from lmgrid_snm import matrix as matrices
from lmgrid_snm.adjustment import UNIFORM, Adjustment
from lmgrid_snm.index import Stream, Template, count, templates
from lmgrid_snm.metafeatures import Links, Metafeatures, bucket
from lmgrid_snm.model import SNMError, SNMModel
from lmgrid_snm.parts import SNMPart

A, B, C = 2, 3, 4
V = 5
FLOOR = math.exp(UNIFORM)
BIGRAMS = SNMPart(order=2, remote=0, skip=0, slots=64)
SKIPPING = SNMPart(order=4, remote=2, skip=2, adjacent=1, slots=2**12)
WHOLE = slice(None)


def ids(*tokens: int) -> Tokens:
    return np.array(tokens, np.int32)


def recipe(interval: int = 10_000) -> Recipe:
    return Recipe(None, (), seed=0, budget=None, point_interval=interval)


def made(options: SNMPart, vocabulary: int) -> SNMModel:
    counts = np.ones(vocabulary, np.int64)
    return options.make(
        Context(
            vocabulary=sample_vocabulary(vocabulary),
            counts=counts,
            seed=0,
            device="cpu",
            cache=Path(),
        )
    )


def templates_of(options: SNMPart) -> tuple[Template, ...]:
    return templates(
        order=options.order,
        remote=options.remote,
        skip=options.skip,
        adjacent=options.adjacent,
    )


def metafeatures_of(options: SNMPart) -> Metafeatures:
    return Metafeatures(lexical=options.adjustment == "lexical", slots=options.slots)


def fitted(options: SNMPart, train: Tokens, vocabulary: int = V, yields: int = 1) -> SNMModel:
    model = made(options, vocabulary)
    list(islice(model.fit(train, recipe()), yields))
    return model


def adjustment(options: SNMPart, train: Tokens, vocabulary: int = V) -> Adjustment:
    counted = count(train, templates_of(options), vocabulary)
    return Adjustment(counted, metafeatures=metafeatures_of(options), rate=options.rate)


# ---------------------------------------------------------------- features


def test_templates_are_ngrams_and_skipgrams() -> None:
    """Order 3 with one remote word, one skipped, one adjacent: 2 contexts and 2 skip-grams."""
    found = templates(order=3, remote=1, skip=1, adjacent=1)
    assert found == (
        Template(0, 0),  # no word
        Template(0, 1),  # w1
        Template(1, 2),  # w2 w1
        Template(0, 2),  # w2 _
        Template(1, 3),  # w3 _ w1
    )


def words_back(options: SNMPart, place: int) -> tuple[int, ...]:
    """Return how many places back each word of a template is."""
    template = templates_of(options)[place]
    if not template.reach:
        return ()
    return (*words_back(options, template.parent), template.reach)


def brute_features(tokens: Tokens, options: SNMPart, n: int) -> list[tuple[int, tuple[int, ...]]]:
    """Return the features (template, words) before token n, as one would first write it."""
    stream = [1, *tokens.tolist()]
    found = []
    for place in range(len(templates_of(options))):
        back = words_back(options, place)
        reach = max(back, default=0)
        between = stream[max(n + 2 - reach, 0) : n + 1]
        if reach <= n + 1 and 1 not in between:
            found.append((place, tuple(stream[n + 1 - k] for k in back)))
    return found


def test_links_are_those_of_a_loop() -> None:
    """Each token has the links that a plain loop finds, with the same counts."""
    tokens = sample_tokens(12, seed=1, count=300)
    counted = count(tokens, templates_of(SKIPPING), 12)
    times = Counter(
        (feature, int(word))
        for n, word in enumerate(tokens)
        for feature in brute_features(tokens, SKIPPING, n)
    )
    assert len(counted.counts) == len(times)
    for n, (links, word) in enumerate(zip(counted.instances, tokens, strict=True)):
        features = brute_features(tokens, SKIPPING, n)
        assert [t for t, link in enumerate(links) if link >= 0] == [t for t, _ in features]
        expected = [times[feature, int(word)] for feature in features]
        assert counted.counts[links[links >= 0]].tolist() == expected


def test_finding_links_is_what_counting_found() -> None:
    """The links looked up for the training text are those that it was counted by."""
    tokens = sample_tokens(12, seed=1, count=300)
    counted = count(tokens, templates_of(SKIPPING), 12)
    stream = Stream.of(tokens)
    found = counted.index.linked(counted.index.active(stream), stream.tokens[1:])
    assert np.array_equal(found.T, counted.instances)


# ---------------------------------------------------------------- the equations


def test_the_unadjusted_model_on_a_case_by_hand() -> None:
    """With A = 0 it is the sum of relative frequencies over the number of features.

    In ``a b a c``: C(a) = 2, C(b) = C(c) = 1, after a one b and one c, after b one a, after
    ``<eos>`` one a.
    """
    model = fitted(SNMPart(order=2, remote=0, skip=0, adjustment="none"), ids(A, B, A, C))
    scores = model.score(ids(A, B, C, B))
    below = 2 + FLOOR
    expected = [
        (2 / 4 + 1 + FLOOR / V) / below,  # a after <eos>
        (1 / 4 + 1 / 2 + FLOOR / V) / below,  # b after a
        (1 / 4 + FLOOR / V) / below,  # c after b: never seen
        (1 / 4 + FLOOR / V) / (1 + FLOOR),  # b after c: c was never a context
    ]
    np.testing.assert_allclose(np.exp(scores), expected, rtol=1e-6)


def test_the_adjusted_matrix_on_a_case_by_hand() -> None:
    """M = exp(A) C / C*, with A the sum of the weights of the link's metafeatures.

    A starts at -ln 2, as each token has two features.
    """
    model = adjustment(BIGRAMS, ids(A, B, A, C))
    model.weights[:] = np.linspace(-0.5, 0.5, len(model.weights))
    place = Metafeatures(lexical=True, slots=64).places
    matrix = model.matrix()
    links = Links(*(np.array(x) for x in ([0] * 3, [0] * 3, [A, B, C], [4] * 3, [2, 1, 1])))
    adjusted = np.exp(-math.log(2) + sum(model.weights[p] for p in place(links)))
    by_hand = adjusted * [2 / 4, 1 / 4, 1 / 4]
    np.testing.assert_allclose(matrix.weights[:3], by_hand, rtol=1e-6)
    assert matrix.sums[0] == pytest.approx(by_hand.sum(), rel=1e-6)
    assert matrix.uniform == math.exp(0.5)


def test_the_loss_leaves_each_token_out_on_a_case_by_hand() -> None:
    """Before training, in ``a b a b a``: the losses of five tokens, each by the other four.

    Each token has two features, so A starts at -ln 2.

    Without a token, the unigram predicts a (3 in all) by 2/4 and b (2) by 1/4. What follows a is b,
    twice; without one of them, b still has 1/1. What follows b is a, twice: likewise. ``<eos>``
    comes before one token alone, so without that it says nothing.
    """
    model = adjustment(BIGRAMS, ids(A, B, A, B, A))
    floor = FLOOR / V
    first = (1 + FLOOR) / 2 - math.log((2 / 4 + floor) / 2)
    after_a = (2 + FLOOR) / 2 - math.log((1 / 4 + 1 + floor) / 2)
    after_b = (2 + FLOOR) / 2 - math.log((2 / 4 + 1 + floor) / 2)
    assert model.loss(WHOLE).value == pytest.approx(first + 2 * after_a + 2 * after_b, rel=1e-9)


def brute_loss(model: Adjustment, tokens: Tokens, options: SNMPart, vocabulary: int) -> float:
    """Return the Poisson loss with each token taken out of the text before it is predicted."""
    place = metafeatures_of(options).places
    counted = count(tokens, templates_of(options), vocabulary)
    numbers = counted.index.active(Stream.of(tokens))
    total = 0.0
    links = [(f, int(w)) for n, w in enumerate(tokens) for f in numbers[:, n] if f >= 0]
    times, totals = Counter(links), Counter(f for f, _ in links)
    template_of = {int(f): t for t, row in enumerate(numbers) for f in row}
    uniform = math.exp(model.weights[-1])
    for n, w in enumerate(tokens.tolist()):
        y = np.full(vocabulary, uniform / vocabulary)
        for f in numbers[:, n][numbers[:, n] >= 0].tolist():
            for j in range(vocabulary):
                c, whole = times[f, j] - (j == w), totals[f] - 1
                if c > 0:
                    link = Links(*(np.array([x]) for x in (template_of[f], f, j, whole, c)))
                    a = model.start + sum(float(model.weights[p[0]]) for p in place(link))
                    y[j] += math.exp(a) * c / whole
        total += float(y.sum()) - math.log(y[w])
    return total


@pytest.mark.parametrize("kind", ["counts", "lexical"])
def test_the_loss_is_that_of_a_text_without_the_token(kind: str) -> None:
    """The loss of a whole text equals that of a loop that leaves each token out of the counts."""
    options = SNMPart(order=3, remote=1, skip=1, adjustment=kind, slots=97)  # type: ignore[arg-type]
    tokens = sample_tokens(8, seed=2, count=80)
    model = adjustment(options, tokens, 8)
    model.weights[:] = np.random.default_rng(0).normal(0, 0.3, len(model.weights))
    expected = brute_loss(model, tokens, options, 8)
    assert model.loss(WHOLE).value == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("kind", ["counts", "lexical"])
def test_the_gradient_is_that_of_finite_differences(kind: str) -> None:
    """Each weight's gradient over a whole text is the slope of the loss."""
    options = SNMPart(order=3, remote=1, skip=1, adjustment=kind, slots=40)  # type: ignore[arg-type]
    model = adjustment(options, sample_tokens(8, seed=2, count=200), 8)
    model.weights[:] = np.random.default_rng(0).normal(0, 0.3, len(model.weights))
    gradient = model.loss(WHOLE).gradient
    for k in range(len(model.weights)):
        before, model.weights[k] = model.weights[k], model.weights[k] + 1e-5
        above = model.loss(WHOLE).value
        model.weights[k] = before - 1e-5
        slope = (above - model.loss(WHOLE).value) / 2e-5
        model.weights[k] = before
        assert gradient[k] == pytest.approx(slope, rel=1e-5, abs=1e-6)


def test_batches_add_up_to_the_text() -> None:
    """Loss and gradient of the batches sum to those of the text, though a link's share moves."""
    model = adjustment(SKIPPING, sample_tokens(12, seed=3, count=500), 12)
    parts = [model.loss(slice(i, None, 7)) for i in range(7)]
    whole = model.loss(WHOLE)
    assert sum(part.value for part in parts) == pytest.approx(whole.value, rel=1e-12)
    total = np.sum([part.gradient for part in parts], axis=0)
    np.testing.assert_allclose(total, whole.gradient, rtol=1e-9, atol=1e-9)


def test_buckets_are_half_octaves() -> None:
    """Counts 1, 2 and 5 have a bucket each; 3 to 4, 6 to 8, 9 to 11 and 12 to 16 share one."""
    assert bucket(np.arange(1, 17)).tolist() == [0, 2, 4, 4, *[5] * 1, *[6] * 3, *[7] * 3, *[8] * 5]


def test_metafeatures_do_not_depend_on_the_batch() -> None:
    """A link has the same places in the table alone and among others."""
    rng = np.random.default_rng(0)
    many = [rng.integers(1, 50, 20) for _ in range(5)]
    places = Metafeatures(lexical=True, slots=1000).places
    together = places(Links(*many))
    alone = places(Links(*(values[7:8] for values in many)))
    assert [p[7] for p in together] == [p[0] for p in alone]


# ---------------------------------------------------------------- the model


def test_adjusting_lowers_the_loss_of_each_pass() -> None:
    """The mean loss falls from each pass to the next."""
    train = sample_tokens(200, seed=4, count=4_000)
    model = made(SNMPart(batch=200, slots=2**14), 200)
    losses = [p.train_nats for p in islice(model.fit(train, recipe(1 << 60)), 4)]
    assert all(a > b for a, b in pairwise(losses))  # type: ignore[operator]


def test_the_adjustment_helps_on_unseen_text() -> None:
    """After two passes it predicts other text of the same source better than counts alone."""
    train, other = (sample_tokens(200, seed=s, count=4_000) for s in (4, 5))
    plain = fitted(SNMPart(adjustment="none"), train, 200)
    adjusted = fitted(SNMPart(batch=200, slots=2**14), train, 200, yields=2)
    assert adjusted.score(other).mean() > plain.score(other).mean() + 0.02


def test_points_come_at_the_interval_and_at_each_pass() -> None:
    """It yields at the first batch at or past each multiple of the interval, and after a pass."""
    train = sample_tokens(12, seed=6, count=1_000)
    model = made(SNMPart(batch=100, slots=64), 12)
    tokens = [p.tokens for p in islice(model.fit(train, recipe(350)), 6)]
    assert tokens == [400, 700, 1000, 1100, 1400, 1800]


def test_the_losses_of_the_first_steps_are_told_once() -> None:
    """If it yields after every step, the first losses are those of the yields."""
    train = sample_tokens(200, seed=4, count=4_000)
    options = SNMPart(batch=200, slots=2**14)
    model = made(options, 200)
    told = list(islice(model.fit(train, recipe(1)), max(FIRST_STEPS) + 5))
    losses = [(s, p.train_nats) for s, p in enumerate(told, start=1) if s in FIRST_STEPS]
    assert [loss for p in told for loss in p.losses] == losses
    rare = list(islice(made(options, 200).fit(train, recipe(1 << 60)), 6))
    assert [loss for p in rare for loss in p.losses] == losses


def test_without_an_adjustment_it_is_done_at_once() -> None:
    """Without an adjustment ``fit`` counts, yields once and ends."""
    model = made(SNMPart(adjustment="none"), 12)
    assert [p.tokens for p in model.fit(sample_tokens(12, seed=6), recipe())] == [4_000]


def test_no_word_is_impossible() -> None:
    """A word that never occurred, as ``<unk>`` may, has a probability after every context."""
    model = fitted(BIGRAMS, ids(A, B, A, B), yields=3)
    assert np.isfinite(model.score(ids(0, C, A, 0, A, C))).all()


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores are equal to the last bit, however many tokens are scored at once."""
    model = fitted(SKIPPING, sample_tokens(12, seed=7), 12)
    tokens = sample_tokens(12, seed=8, count=100)
    scores = model.score(tokens)
    monkeypatch.setattr(matrices, "BLOCK", 3)
    assert np.array_equal(model.score(tokens), scores)


def test_a_model_without_counts_says_so() -> None:
    """Scoring before fitting, and fitting on nothing, are errors that say what to do."""
    model = made(SNMPart(), 12)
    with pytest.raises(SNMError, match="call fit or load first"):
        model.score(ids(2))
    with pytest.raises(SNMError, match="train split is empty"):
        next(model.fit(ids(), recipe()))


# ---------------------------------------------------------------- in a grid

GRID = """
budget = { seconds = 2.0 }
optimizers = ["adam"]
[[corpora]]
name = "kjv"
[[models]]
name = "snm"
"""


def grid_file(folder: Path, text: str) -> Path:
    path = folder / "grid.toml"
    path.write_text(GRID + text)
    return path


def test_it_has_a_budget_and_no_optimizer(tmp_path: Path) -> None:
    """A grid's budget applies if there is an adjustment to learn; its optimizer and seed do not."""
    path = grid_file(tmp_path, 'adjustment = ["none", "lexical"]\n')
    counted, adjusted = read_grid(path, Registry.installed()).cells
    assert isinstance(counted, Cell)
    assert isinstance(adjusted, Cell)
    assert counted.budget is None
    assert adjusted.budget is not None
    assert adjusted.budget.seconds == 2.0
    assert (adjusted.optimizer, adjusted.seed) == (None, None)


def test_what_an_adjustment_alone_feels_makes_no_cells_without_one(tmp_path: Path) -> None:
    """Without skip-grams ``adjacent`` makes no cells; without an adjustment ``rate`` makes none."""
    text = 'adjustment = ["none", "counts"]\nrate = [0.1, 0.2]\nadjacent = [1, 2]\n'
    assert len(read_grid(grid_file(tmp_path, text), Registry.installed()).cells) == (1 + 2) * 2
    text += "remote = 0\nskip = 0\n"
    assert len(read_grid(grid_file(tmp_path, text), Registry.installed()).cells) == 1 + 2


def test_an_optimizer_of_the_grid_is_refused(tmp_path: Path) -> None:
    """An optimizer in the block of the model is an error, since the model has its own."""
    path = grid_file(tmp_path, 'optimizers = ["adam"]\n')
    with pytest.raises(GridError, match=r"models\[0\].optimizers: 'snm' has its own optimizer"):
        read_grid(path, Registry.installed())


def test_skipgrams_need_a_remote_word_and_a_gap(tmp_path: Path) -> None:
    """Setting only one of ``remote`` and ``skip`` to 0 is an error that names both."""
    with pytest.raises(GridError, match="remote is 0 and skip is 2"):
        read_grid(grid_file(tmp_path, "remote = 0\n"), Registry.installed())
