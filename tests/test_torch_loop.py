"""The training loop: what it predicts, when it yields, and what it reports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmgrid.spec import (
    FIRST_STEPS,
    Context,
    ModelPart,
    Moment,
    Optimizer,
    Progress,
    Recipe,
    Tokens,
    derive_seed,
)
from lmgrid.testing import sample_tokens, sample_vocabulary
from lmgrid_rnn.parts import RnnPart
from lmgrid_torch.optimizers.parts import AdamPart, SgdPart
from lmgrid_torch.regularizers.parts import ClipPart, DropoutPart, L2Part
from lmgrid_window.parts import WindowPart

pytest.importorskip("torch", reason="needs the extra lmgrid[torch]")

import torch

from lmgrid_torch.initialisation import initialise
from lmgrid_torch.model import NeuralModel
from lmgrid_torch.network import Batch, contexts, shuffled, streams
from lmgrid_torch.outputs.softmax import Softmax
from lmgrid_torch.regularizers.site import sites
from lmgrid_torch.regularizers.torch_regularizer import TorchRegularizer
from lmgrid_torch.training.trainer import required
from lmgrid_window.network import WindowNetwork

V = 30
WINDOW = WindowPart(embedding=4, hidden=6, batch=32)
RNN = RnnPart(embedding=4, hidden=6, batch=5, steps=7)
BOTH = pytest.mark.parametrize("part", [WINDOW, RNN], ids=["window", "rnn"])


def context(seed: int = 0) -> Context:
    counts = np.bincount(sample_tokens(V, seed=1), minlength=V)
    return Context(
        vocabulary=sample_vocabulary(V), counts=counts, seed=seed, device="cpu", cache=Path()
    )


def made(part: ModelPart, seed: int = 0) -> NeuralModel:
    model = part.make(context(seed))
    assert isinstance(model, NeuralModel)
    return model


def recipe(seed: int = 0, interval: int = 10**9) -> Recipe:
    return Recipe(
        AdamPart(lr=0.01).make(context(seed)), (), seed=seed, budget=None, point_interval=interval
    )


def points(part: ModelPart, train: Tokens, how: Recipe, count: int) -> list[Progress]:
    return list(islice(made(part, how.seed).fit(train, how), count))


# ---------------------------------------------------------------- every token once


@settings(deadline=None)  # a busy machine is no failure
@given(n=st.integers(1, 200), size=st.integers(1, 5), batch=st.integers(1, 50))
def test_shuffled_windows_hold_every_token_once(n: int, size: int, batch: int) -> None:
    """Each window occurs once, with the words before it."""
    tokens = torch.arange(2, n + 2)
    batches = list(shuffled(tokens, size, batch, torch.Generator().manual_seed(0)))
    targets = torch.cat([b.targets for b in batches])
    assert sorted(targets.tolist()) == tokens.tolist()
    assert all(len(b.targets) == b.tokens <= batch for b in batches)
    before = torch.cat([b.inputs for b in batches])
    assert torch.equal(before, contexts(tokens, size)[targets - 2])


@settings(deadline=None)  # a busy machine is no failure
@given(n=st.integers(1, 300), batch=st.integers(1, 25), steps=st.integers(1, 40))
def test_streams_hold_every_token_once_and_in_order(n: int, batch: int, steps: int) -> None:
    """Read stream after stream, the targets are the text and the inputs the text before it."""
    tokens = torch.arange(2, n + 2)
    batches = list(streams(tokens, batch, steps))
    assert all(b.inputs.shape[0] <= steps and b.inputs.shape[1] == batch for b in batches)
    inputs = torch.cat([b.inputs for b in batches]).t().flatten()
    targets = torch.cat([b.targets.view(-1, batch) for b in batches]).t().flatten()
    real = targets != -100
    assert targets[real].tolist() == tokens.tolist()
    assert inputs[real].tolist() == [1, *tokens.tolist()[:-1]]
    assert [b.tokens for b in batches] == [int((b.targets != -100).sum()) for b in batches]


def test_contexts_begin_with_eos() -> None:
    """The window of token 0 consists of <eos>."""
    assert contexts(torch.tensor([5, 6, 7]), 2).tolist() == [[1, 1], [1, 5], [5, 6]]


def test_streams_carry_their_state_and_each_epoch_starts_anew() -> None:
    """A batch gets the state of the previous batch; the first of an epoch gets None."""
    model, seen = made(RNN), []

    def watch(module: object, arguments: tuple[object, object]) -> None:
        seen.append(arguments[1] is None)

    model.network.register_forward_pre_hook(watch)
    list(islice(model.fit(sample_tokens(V, seed=1, count=100), recipe()), 2))
    assert seen == [True, False, False] * 2  # 20 rows, 7 steps at most


# ---------------------------------------------------------------- when it yields


@BOTH
def test_yields_past_each_multiple_and_at_the_end_of_each_epoch(part: ModelPart) -> None:
    """Tokens count real predictions; training yields once at each multiple and each epoch's end."""
    train = sample_tokens(V, seed=1, count=1_003)
    seen = [p.tokens for p in points(part, train, recipe(interval=300), 8)]
    ends, multiples = (1_003, 2_006), (300, 600, 900, 1_200, 1_500, 1_800)
    assert sorted(set(seen)) == seen
    assert set(ends) <= set(seen)
    for multiple in multiples:
        assert any(multiple <= tokens < multiple + 35 for tokens in seen)
    assert len([tokens for tokens in seen if tokens <= 2_006]) == len(ends) + len(multiples)


@BOTH
def test_goes_on_until_it_is_closed(part: ModelPart) -> None:
    """The caller has the budget; closing the generator ends training without an error."""
    training = made(part).fit(sample_tokens(V, seed=1, count=50), recipe())
    assert [next(training).tokens for _ in range(4)] == [50, 100, 150, 200]
    training.close()
    assert next(training, None) is None


@BOTH
def test_an_empty_text_is_refused(part: ModelPart) -> None:
    """An empty text has no epoch, so training would never yield."""
    with pytest.raises(ValueError, match="train split is empty"):
        next(made(part).fit(np.empty(0, dtype=np.int32), recipe()))


def test_a_network_without_optimizer_is_refused() -> None:
    """The message says what to add."""
    with pytest.raises(ValueError, match="add optimizers"):
        next(made(WINDOW).fit(sample_tokens(V, seed=1), replace(recipe(), optimizer=None)))


# ---------------------------------------------------------------- what it reports


@BOTH
def test_reports_the_mean_data_loss_per_token(part: ModelPart) -> None:
    """At rate ≈ 0 the mean over an epoch is the loss of scoring, whatever the batches."""
    train = sample_tokens(V, seed=1, count=333)
    still = SgdPart(lr=1e-30).make(context())
    model = made(replace(part, batch=1) if isinstance(part, RnnPart) else part)
    progress = next(model.fit(train, replace(recipe(), optimizer=still)))
    assert progress.train_nats == pytest.approx(-model.score(train).mean(), abs=1e-5)


def test_reports_the_penalty_apart() -> None:
    """L2 adds λ Σ θ² to the loss that is minimised, not to the data loss."""
    train = sample_tokens(V, seed=1, count=100)
    model, optimizer = made(WINDOW), SgdPart(lr=1e-30).make(context())
    how = replace(recipe(), optimizer=optimizer)
    plain = next(model.fit(train, how))
    squares = sum(float(p.detach().square().sum()) for p in model.network.parameters())
    held = next(model.fit(train, replace(how, regularizers=(L2Part(weight=0.5).make(context()),))))
    assert held.penalty == pytest.approx(0.5 * squares, rel=1e-5)
    assert held.train_nats == pytest.approx(plain.train_nats, rel=1e-5)
    assert plain.penalty == 0


def test_counts_how_often_a_regularizer_acted() -> None:
    """Events are counted since the last yield; events with a count of 0 are left out."""
    train = sample_tokens(V, seed=1, count=320)  # ten batches of 32
    tight, loose = ClipPart(norm=1e-6).make(context()), ClipPart(norm=1e6).make(context())
    assert points(WINDOW, train, replace(recipe(), regularizers=(tight,)), 2)[1].events == (
        ("clip", 10),
    )
    assert points(WINDOW, train, replace(recipe(), regularizers=(loose,)), 1)[0].events == ()


def steps_by_hand(part: ModelPart, train: Tokens) -> Iterator[float]:
    """Yield the mean loss per token of each step of a straightforward loop."""
    model, size = made(part), getattr(part, "accumulate", 1)
    network = model.network.train()
    optimizer = required(recipe().optimizer)(list(network.parameters()))
    text = torch.from_numpy(train.astype(np.int64))
    for epoch in count():
        order = torch.Generator().manual_seed(derive_seed(0, "order", str(epoch)))
        batches, state = iter(model.network.epoch(text, order)), None
        while step := list(islice(batches, size)):
            optimizer.zero_grad()
            tokens, nats = sum(batch.tokens for batch in step), 0.0
            for batch in step:
                features, state = network(batch.inputs, state)
                loss = model.network.output.loss(features, batch.targets)
                (loss * (batch.tokens / tokens)).backward()  # type: ignore[no-untyped-call]
                nats += loss.item() * batch.tokens
            optimizer.step()
            yield nats / tokens


@pytest.mark.parametrize(
    "part", [WINDOW, RNN, replace(RNN, accumulate=3)], ids=["window", "rnn", "accumulated"]
)
def test_reports_the_losses_of_the_first_steps(part: ModelPart) -> None:
    """Each is reported once, at the yield after its step, and equals that of a loop by hand."""
    train = sample_tokens(V, seed=1, count=500)
    wanted = list(islice(steps_by_hand(part, train), max(FIRST_STEPS)))
    seen, training = list[tuple[int, float]](), made(part).fit(train, recipe(interval=130))
    while len(seen) < len(FIRST_STEPS):
        seen += next(training).losses
    assert [step for step, _ in seen] == list(FIRST_STEPS)
    assert [loss for _, loss in seen] == pytest.approx([wanted[s - 1] for s in FIRST_STEPS])
    assert not any(progress.losses for progress in islice(training, 10))


def test_the_losses_of_the_first_steps_are_without_penalties() -> None:
    """The reported losses leave out the penalties of regularizers."""
    train = sample_tokens(V, seed=1, count=100)
    held = replace(recipe(), regularizers=(L2Part(weight=0.5).make(context()),))
    plain = points(WINDOW, train, recipe(), 1)[0].losses
    assert points(WINDOW, train, held, 1)[0].losses[0] == plain[0]


@BOTH
def test_reading_the_first_steps_changes_no_bit(
    part: ModelPart, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reporting losses of steps does not change the trained weights."""
    train = sample_tokens(V, seed=1, count=500)

    def trained() -> tuple[list[Progress], list[torch.Tensor]]:
        model = made(part)
        seen = list(islice(model.fit(train, recipe(interval=130)), 40))
        return seen, list(model.network.parameters())

    read, weights = trained()
    monkeypatch.setattr("lmgrid_torch.training.step_stats.FIRST_STEPS", ())
    unread, others = trained()
    assert [replace(progress, losses=()) for progress in read] == unread
    assert all(torch.equal(a, b) for a, b in zip(weights, others, strict=True))


class Watch(TorchRegularizer):
    """Records the learning rate of each step."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def update(self, module: torch.nn.Module, rate: float) -> int:
        self.rates.append(rate)
        return 0


def test_the_learning_rate_follows_its_schedule() -> None:
    """A step's rate is the optimizer's lr times the factor of the epochs so far."""
    watch = Watch()
    halving = SgdPart(lr=0.8, halve_every=2).make(context())
    how = replace(recipe(), optimizer=halving, regularizers=(watch,))
    points(WINDOW, sample_tokens(V, seed=1, count=64), how, 5)  # two steps an epoch
    assert watch.rates == [0.8] * 4 + [0.4] * 4 + [0.2] * 2


class Recording:
    """An optimizer that records the learning rate of torch's optimizer at each step."""

    def __init__(self, inner: Optimizer) -> None:
        self.inner, self.rates = inner, list[float]()

    def __call__(self, parameters: Sequence[torch.nn.Parameter]) -> torch.optim.Optimizer:
        made = self.inner(parameters)
        made.register_step_pre_hook(lambda o, *_: self.rates.append(o.param_groups[0]["lr"]))
        return made

    def settings(self, moment: Moment) -> Mapping[str, float]:
        return {"lr": 1 / (1 + moment.epochs)}


def test_torch_steps_with_the_rate_of_the_schedule() -> None:
    """Regularizers are given the learning rate that the optimizer uses."""
    optimizer = Recording(SgdPart(lr=1.0).make(context()))
    how = replace(recipe(), optimizer=optimizer)
    points(WINDOW, sample_tokens(V, seed=1, count=64), how, 2)
    assert optimizer.rates == pytest.approx([1, 1 / 1.5, 1 / 2, 1 / 2.5])


# ---------------------------------------------------------------- randomness


@BOTH
def test_a_seed_repeats_bitwise(part: ModelPart) -> None:
    """Two trainings with one seed have equal reports and weights, dropout included."""
    train = sample_tokens(V, seed=1, count=500)
    how = replace(recipe(), regularizers=(DropoutPart(rate=0.5, input_rate=0.2).make(context()),))
    one, two = (made(part), made(part))
    assert list(islice(one.fit(train, how), 3)) == list(islice(two.fit(train, how), 3))
    for a, b in zip(one.network.parameters(), two.network.parameters(), strict=True):
        assert torch.equal(a, b)


@BOTH
def test_the_seed_changes_the_weights(part: ModelPart) -> None:
    """Another seed gives other initial weights."""
    one, two = (made(part, seed=s).network.get_parameter("output.weight") for s in (0, 1))
    assert not torch.equal(one, two)


class Noting(WindowNetwork):
    """Records the order of each epoch's targets."""

    orders: list[list[int]]

    def epoch(self, tokens: torch.Tensor, order: torch.Generator) -> Iterator[Batch]:
        batches = list(super().epoch(tokens, order))
        self.orders.append(torch.cat([b.targets for b in batches]).tolist())
        return iter(batches)


def orders(seed: int) -> list[list[int]]:
    """Return the order of the targets in two epochs of 90 tokens."""
    network = Noting(
        Softmax(features=WINDOW.features, vocabulary=V),
        context=WINDOW.context,
        embedding=WINDOW.embedding,
        hidden=WINDOW.hidden,
        direct=WINDOW.direct,
        batch=WINDOW.batch,
    )
    network.orders = []
    counts = context(seed).counts
    initialise(network, method="xavier", uniform_range=0.1, counts=counts, seed=seed)
    fitting = NeuralModel(network).fit(sample_tokens(V, seed=1, count=90), recipe(seed))
    list(islice(fitting, 2))
    return network.orders


def test_windows_come_in_another_order_each_epoch() -> None:
    """The order differs between epochs and depends on the seed alone."""
    one, two, other = (orders(seed) for seed in (0, 0, 1))
    assert one == two
    assert one[0] != one[1]
    assert one[0] != other[0]


@BOTH
def test_torch_s_own_randomness_is_not_touched(part: ModelPart) -> None:
    """Construction, training with dropout and scoring leave torch's global generator alone."""
    before = torch.get_rng_state()
    how = replace(recipe(), regularizers=(DropoutPart().make(context()),))
    model = made(part)
    list(islice(model.fit(sample_tokens(V, seed=1, count=100), how), 2))
    model.score(sample_tokens(V, seed=2, count=100))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_second_fit_drops_the_first_one_s_regularizers() -> None:
    """The actions of one training are removed before the next."""
    model = made(WINDOW)
    train = sample_tokens(V, seed=1, count=100)
    next(model.fit(train, replace(recipe(), regularizers=(DropoutPart().make(context()),))))
    assert sum(len(site.actions) for site in sites(model.network)) == 2
    next(model.fit(train, recipe()))
    assert sum(len(site.actions) for site in sites(model.network)) == 0
