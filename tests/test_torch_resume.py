"""Training is resumed bit for bit, and rolled back where a value is not finite."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lmgrid.budget import Budget
from lmgrid.spec import (
    Context,
    Diverged,
    LanguageModel,
    ModelPart,
    OptimizerPart,
    Progress,
    Reading,
    Recipe,
    Regularizer,
    Reporter,
    Resumable,
    State,
    Tokens,
)
from lmgrid.testing import sample_tokens, sample_vocabulary
from lmgrid_rnn.parts import RnnPart
from lmgrid_rnn.reporter_parts import GradientsPart
from lmgrid_torch.optimizers.parts import (
    AdagradPart,
    AdamPart,
    AsgdPart,
    NAdamWPart,
    RmsPropPart,
    SgdPart,
)
from lmgrid_torch.regularizers.parts import ClipPart, DropoutPart
from lmgrid_window.parts import WindowPart

pytest.importorskip("torch", reason="needs the extra lmgrid[torch]")

import torch

from lmgrid_torch.generator import WithGenerator
from lmgrid_torch.model import NeuralModel
from lmgrid_torch.regularizers.site import sites
from lmgrid_torch.regularizers.torch_regularizer import TorchRegularizer
from lmgrid_torch.training.snapshot import pack, unpack, unpacked
from lmgrid_torch.training.trainer import ROLLBACKS

V = 30
WINDOW = WindowPart(embedding=4, hidden=6, batch=32)
RNN = RnnPart(embedding=4, hidden=6, batch=5, steps=7)
BOTH = pytest.mark.parametrize("part", [WINDOW, RNN], ids=["window", "rnn"])
TRAIN = sample_tokens(V, seed=1, count=500)
VALID = sample_tokens(V, seed=2, count=64)
CONTEXT = Context(
    vocabulary=sample_vocabulary(V),
    counts=np.bincount(TRAIN, minlength=V),
    seed=0,
    device="cpu",
    cache=Path(),
)

Fitting = Generator[Progress, float | None, None]


def made(part: ModelPart) -> NeuralModel:
    model = part.make(CONTEXT)
    assert isinstance(model, NeuralModel)
    return model


def recipe(optimizer: OptimizerPart, regularizers: tuple[Regularizer, ...] = ()) -> Recipe:
    return Recipe(
        optimizer.make(CONTEXT), regularizers, seed=0, budget=Budget(epochs=4), point_interval=130
    )


def answered(model: NeuralModel, fitting: Fitting, points: int) -> list[tuple[Progress, float]]:
    """Train as the runner does, answering every other yield with the validation loss."""
    seen: list[tuple[Progress, float]] = []
    answer: float | None = None
    for number in range(points):
        progress = fitting.send(answer)
        loss = -float(model.score(VALID).mean())
        seen.append((progress, loss))
        answer = loss if number % 2 else None
    return seen


def through_json(state: State) -> State:
    """Return the state after a round trip to disk."""
    return State(dict(state.arrays), json.loads(json.dumps(state.values)))


def assert_resumes(part: ModelPart, how: Any, stop: int) -> None:
    """Assert that training resumed at yield ``stop`` ends bit-equal to an uninterrupted one."""
    whole = made(part)
    wanted = answered(whole, whole.fit(TRAIN, how()), 12)
    first = made(part)
    fitting = first.fit(TRAIN, how())
    before = answered(first, fitting, stop)
    state = through_json(first.state())
    fitting.close()
    second = made(part)
    fitting = second.fit(TRAIN, replace(how(), resume=state))
    again = next(fitting)
    assert again == Progress(before[-1][0].tokens, None)
    answer = -float(second.score(VALID).mean())
    assert answer == before[-1][1]
    told = answer if (stop - 1) % 2 else None
    rest = []
    for number in range(stop, 12):
        progress = fitting.send(told)
        loss = -float(second.score(VALID).mean())
        rest.append((progress, loss))
        told = loss if number % 2 else None
    assert [*before, *rest] == wanted
    for a, b in zip(whole.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(a, b)


def assert_reads_the_same(reporter: Callable[[], Reporter], stop: int) -> None:
    """Assert that the readings of a training resumed at ``stop`` are the uninterrupted ones.

    They are read at every third yield.
    """

    def readings(model: NeuralModel, how: Recipe, first: int, last: int) -> list[Reading]:
        """Return the readings at the yields from ``first`` to ``last``; resume at ``first``."""
        seen: list[Reading] = []
        fitting = model.fit(TRAIN, how)
        if first:
            next(fitting)
        for number in range(first, last):
            next(fitting)
            if number % 3 == 2:
                seen += how.reporters[0].readings(model, VALID)
        return seen

    def how(resume: State | None = None) -> Recipe:
        return replace(recipe(AdamPart()), reporters=(reporter(),), resume=resume)

    wanted = readings(made(RNN), how(), 0, 9)
    model = made(RNN)
    before = readings(model, how(), 0, stop)
    after = readings(made(RNN), how(through_json(model.state())), stop, 9)
    assert wanted
    assert [*before, *after] == wanted


OPTIMIZERS = [
    AdamPart(lr=0.01, schedule="plateau"),
    AdamPart(lr=0.01, schedule="cosine", warmup_tokens=200),
    SgdPart(lr=0.5, momentum=0.9, halve_every=1),
    AsgdPart(lr=0.5, start_epoch=0.5),
    AsgdPart(lr=3.0, trigger=1),
    AdagradPart(),
    RmsPropPart(momentum=0.5),
    NAdamWPart(),
]


class Noise(WithGenerator, TorchRegularizer):
    """Multiplies the hidden units by random numbers."""

    def __init__(self) -> None:
        self.draw = torch.Generator()

    def layers(self, module: torch.nn.Module) -> None:
        self.draw.manual_seed(7)
        site = next(site for site in sites(module) if site.name == "hidden")
        site.actions.append(lambda h: h * torch.rand(h.shape, generator=self.draw))


class GrowingPenalty(TorchRegularizer):
    """Adds an L2 penalty whose weight grows with the steps; it is Stateful."""

    def __init__(self) -> None:
        self.updates: NDArray[Any] = np.zeros(1)
        self.loaded: list[float] = []

    def loss(self, module: torch.nn.Module) -> torch.Tensor | float:
        weight = 1e-3 * float(self.updates[0])
        return weight * torch.stack([p.square().sum() for p in module.parameters()]).sum()

    def update(self, module: torch.nn.Module, rate: float) -> int:
        self.updates += 1  # in the array that ``load_state`` was given
        return 0

    def state(self) -> State:
        return State({"updates": self.updates}, {})  # not a copy: the trainer makes its own

    def load_state(self, state: State) -> None:
        self.updates = state.arrays["updates"]
        self.loaded.append(float(self.updates[0]))


class StepCounter:
    """A Stateful reporter that reports the steps since the last readings."""

    def __init__(self) -> None:
        self.steps, self.all = 0, 0

    def gradients(self, module: torch.nn.Module, *, updated: bool) -> None:
        self.steps += updated
        self.all += updated

    def readings(self, model: LanguageModel, tokens: Tokens) -> Iterator[Reading]:
        yield Reading("steps", self.steps)
        self.steps = 0

    def state(self) -> State:
        return State({}, {"steps": [self.steps, self.all]})

    def load_state(self, state: State) -> None:
        self.steps, self.all = state.values["steps"]


@pytest.mark.parametrize("stop", [1, 4, 6, 9])
def test_a_stateful_regularizer_is_resumed_bitwise(stop: int) -> None:
    """Its own state, and the losses that depend on it."""
    assert_resumes(RNN, lambda: recipe(AdamPart(), (Noise(), GrowingPenalty())), stop)


def not_stateful(made: Any) -> Any:
    """Return the same regularizer or reporter without the protocol."""
    made.__class__ = type("NotStateful", (type(made),), {"load_state": None})
    return made


def test_a_regularizer_that_is_not_stateful_trains_otherwise() -> None:
    """The same regularizer without the protocol starts from 0 again, and the law fails."""
    with pytest.raises(AssertionError):
        assert_resumes(RNN, lambda: recipe(AdamPart(), (not_stateful(GrowingPenalty()),)), 5)


EACH_REPORTER = pytest.mark.parametrize(
    "reporter", [StepCounter, lambda: GradientsPart(lags=0).make(CONTEXT)], ids=["steps", "norms"]
)


@EACH_REPORTER
@pytest.mark.parametrize("stop", [1, 2, 5])
def test_a_stateful_reporter_is_resumed(reporter: Callable[[], Reporter], stop: int) -> None:
    """Also at a yield where it was not read: no step is forgotten, none counted twice."""
    assert_reads_the_same(reporter, stop)


@EACH_REPORTER
def test_a_reporter_that_is_not_stateful_forgets(reporter: Callable[[], Reporter]) -> None:
    """Without the protocol the steps before a yield where it was not read are missing."""
    with pytest.raises(AssertionError):
        assert_reads_the_same(lambda: not_stateful(reporter()), 5)


@pytest.mark.parametrize(("hidden", "batch"), [(6, 5), (7, 3), (51, 1), (16, 4)])
def test_a_state_of_any_size_is_resumed_bitwise(hidden: int, batch: int) -> None:
    """Also where the last state of a batch is not aligned in memory as a restored one is."""
    part = RnnPart(cell="elman", embedding=9, hidden=hidden, batch=batch, steps=7)
    assert_resumes(part, lambda: recipe(SgdPart(lr=0.5)), 3)


def test_dropout_is_resumed_bitwise() -> None:
    """Dropout continues with the same masks."""
    assert_resumes(RNN, lambda: recipe(AdamPart(), (DropoutPart(rate=0.5).make(CONTEXT),)), 5)


@BOTH
@pytest.mark.parametrize("stop", [1, 4, 6, 9])
def test_a_resumed_training_is_bitwise_the_undisturbed_one(part: ModelPart, stop: int) -> None:
    """Adam, noise and a plateau: within an epoch, at its end, with an answer or without."""

    def how() -> Recipe:
        return recipe(OPTIMIZERS[0], (Noise(), ClipPart(norm=0.5).make(CONTEXT)))

    assert_resumes(part, how, stop)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda part: type(part).__name__)
def test_each_optimizer_is_resumed_bitwise(optimizer: OptimizerPart) -> None:
    """Holds for the state of every optimizer, and at any point of its schedule."""
    assert_resumes(RNN, lambda: recipe(optimizer), 5)


def test_accumulated_steps_are_resumed_bitwise() -> None:
    """A step of several batches is never split by a yield."""
    assert_resumes(replace(RNN, accumulate=3), lambda: recipe(AdamPart(lr=0.01)), 5)


def test_the_losses_of_the_first_steps_are_reported_once_over_a_resumption() -> None:
    """Steps 1 and 10 before it, step 100 after it, by the count that the state keeps."""
    first, second = made(RNN), made(RNN)
    fitting = first.fit(TRAIN, recipe(AdamPart()))
    before = [loss for progress in islice(fitting, 5) for loss in progress.losses]
    how = replace(recipe(AdamPart()), resume=through_json(first.state()))
    after = [loss for p in islice(second.fit(TRAIN, how), 40) for loss in p.losses]
    whole = made(RNN).fit(TRAIN, recipe(AdamPart()))
    assert [step for step, _ in before] == [1, 10]
    assert [step for step, _ in after] == [100]
    assert [*before, *after] == [loss for p in islice(whole, 40) for loss in p.losses]


def test_a_state_is_a_copy() -> None:
    """Further training does not change a saved state."""
    model = made(RNN)
    fitting = model.fit(TRAIN, recipe(AdamPart()))
    next(fitting)
    state = model.state()
    kept = {name: array.copy() for name, array in state.arrays.items()}
    next(fitting)
    other = made(RNN)
    list(islice(other.fit(TRAIN, replace(recipe(AdamPart()), resume=state)), 3))
    assert all(np.array_equal(kept[name], state.arrays[name]) for name in kept)


def test_taking_a_state_changes_nothing() -> None:
    """Neither the weights for scoring nor those for training change."""
    one, two = made(RNN), made(RNN)
    how = recipe(AsgdPart(start_epoch=0))
    fittings = one.fit(TRAIN, how), two.fit(TRAIN, how)
    for _ in range(4):
        assert next(fittings[0]) == next(fittings[1])
        one.state()
        assert np.array_equal(one.score(VALID), two.score(VALID))


def test_a_model_that_was_never_trained_has_no_state() -> None:
    """The message says what to do."""
    model = made(RNN)
    assert isinstance(model, Resumable)
    with pytest.raises(ValueError, match="call fit first"):
        model.state()


def test_nests_of_tensors_come_back() -> None:
    """Tuples, lists, mappings, numbers, None, scalars and bfloat16 keep shape, type and bits."""
    half = torch.tensor([1.5, -2.0], dtype=torch.bfloat16)
    nest = {"a": (torch.arange(3), None, [torch.tensor(2.5)]), "b": 7, "c": half}
    arrays: dict[str, Any] = {}
    back = unpack(json.loads(json.dumps(pack(nest, "n", arrays))), arrays)
    assert torch.equal(back["a"][0], torch.arange(3))
    assert isinstance(back["a"], tuple)
    assert back["a"][1] is None
    assert torch.equal(back["a"][2][0], torch.tensor(2.5))
    assert back["b"] == 7
    assert back["c"].dtype is torch.bfloat16
    assert torch.equal(back["c"], half)


# ---------------------------------------------------------------- going back


class Poison(TorchRegularizer):
    """Makes a gradient not finite at its n-th step, and whenever the rate is too high."""

    def __init__(self, bad: float, step: int, rate: float = math.inf) -> None:
        self.bad, self.step, self.rate = bad, step, rate
        self.rates: list[float] = []

    def update(self, module: torch.nn.Module, rate: float) -> int:
        self.rates.append(rate)
        if len(self.rates) == self.step or (rate > self.rate and len(self.rates) > self.step):
            gradient = module.get_parameter("embedding").grad
            assert gradient is not None
            gradient[0, 0] = self.bad
        return 0


@BOTH
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_sends_training_back(part: ModelPart, bad: float) -> None:
    """Training returns to the last finite validation loss, at half the rate, and reports it."""
    poison = Poison(bad, step=20)
    model = made(part)
    fitting = model.fit(TRAIN, recipe(SgdPart(lr=0.5), (poison,)))
    good = next(fitting)
    seen = [fitting.send(-float(model.score(VALID).mean()))]
    while not any(progress.events for progress in seen):
        seen.append(next(fitting))
    assert seen[-1].events == (("rollback", 1),)
    assert good.tokens < seen[-1].tokens < good.tokens + 175
    assert all(p.train_nats is not None and math.isfinite(p.train_nats) for p in seen)
    assert poison.rates[-1] == 0.25
    assert np.isfinite(model.score(VALID)).all()


def test_a_rollback_returns_regularizers_and_leaves_reporters() -> None:
    """Three rollbacks to the same point give the same state; the reporter counts undone steps."""
    model, penalty, reporter = made(WINDOW), GrowingPenalty(), StepCounter()
    poison = Poison(math.nan, step=20, rate=0.1)  # 0.5, 0.25, 0.125, then 0.0625 trains
    how = replace(recipe(SgdPart(lr=0.5), (penalty, poison)), reporters=(reporter,))
    fitting = model.fit(TRAIN, how)
    next(fitting)
    assert not penalty.loaded
    good = float(penalty.updates[0])
    progress = fitting.send(-float(model.score(VALID).mean()))
    while not progress.events:
        good, progress = float(penalty.updates[0]), fitting.send(2.0)
    assert progress.events == (("rollback", 3),)
    assert penalty.loaded == [good] * 3
    assert reporter.all == len(poison.rates) == unpacked(model.state(), "position")["steps"]
    assert penalty.updates[0] < reporter.all


def test_before_the_first_answer_training_goes_back_to_its_start() -> None:
    """Training can roll back to the initial weights."""
    model = made(WINDOW)
    how = recipe(SgdPart(lr=0.5), (Poison(math.nan, step=9),))
    seen = list(islice(model.fit(TRAIN, how), 4))
    assert seen[0].tokens == seen[1].tokens < 200
    assert seen[1].events == (("rollback", 1),)


def test_steps_that_were_taken_back_are_reported_once() -> None:
    """Steps count on through a rollback, and losses not yet reported are kept."""
    plain = made(WINDOW).fit(TRAIN, recipe(SgdPart(lr=0.5)))
    wanted = [loss for progress in islice(plain, 4) for loss in progress.losses]
    poisoned = made(WINDOW).fit(TRAIN, recipe(SgdPart(lr=0.5), (Poison(math.nan, step=3),)))
    seen = list(islice(poisoned, 40))
    assert seen[0].events == (("rollback", 1),)
    losses = [loss for progress in seen for loss in progress.losses]
    assert [step for step, _ in losses] == [1, 10, 100]
    assert losses[0] == wanted[0]


def test_a_first_loss_that_is_not_finite_is_left_out() -> None:
    """A loss of step 10 that is not finite is left out, before the yield that rolls back."""
    how = replace(recipe(SgdPart(lr=0.5), (Poison(math.nan, step=9),)), point_interval=10**9)
    seen = list(islice(made(WINDOW).fit(TRAIN, how), 1))
    assert [step for step, _ in seen[0].losses] == [1]


def test_what_does_not_heal_ends_as_diverged() -> None:
    """Training diverges after this many rollbacks; the message says what to do."""
    poison = Poison(math.nan, step=1, rate=0.0)
    with pytest.raises(Diverged, match=f"halved {ROLLBACKS} times; use a smaller lr"):
        next(made(WINDOW).fit(TRAIN, recipe(SgdPart(lr=0.5), (poison,))))
    assert sorted(set(poison.rates)) == [0.5 / 2**n for n in range(ROLLBACKS, -1, -1)]


def test_a_rate_that_is_too_high_is_halved_until_it_holds() -> None:
    """Above 0.2 every step is bad: 0.8, 0.4, then 0.2 trains, and keeps its rate."""
    poison = Poison(math.nan, step=1, rate=0.2)
    progress = next(made(WINDOW).fit(TRAIN, recipe(SgdPart(lr=0.8), (poison,))))
    assert progress.events == (("rollback", 2),)
    assert poison.rates[-1] == 0.2


def test_halvings_are_part_of_the_state() -> None:
    """A training that rolled back keeps its lower rate when it is resumed."""
    model = made(WINDOW)
    next(model.fit(TRAIN, recipe(SgdPart(lr=0.8), (Poison(math.nan, step=1, rate=0.2),))))
    watch = Poison(0.0, step=10**9)
    how = replace(recipe(SgdPart(lr=0.8), (watch,)), resume=model.state())
    list(islice(made(WINDOW).fit(TRAIN, how), 2))
    assert set(watch.rates) == {0.2}


def test_an_infinite_validation_loss_is_no_good_place() -> None:
    """A validation loss that is not finite does not enter the schedule's history."""
    model = made(WINDOW)
    fitting = model.fit(TRAIN, recipe(AdamPart()))
    next(fitting)
    fitting.send(math.inf)
    assert unpacked(model.state(), "position")["valid"] == []
    fitting.send(2.5)
    assert unpacked(model.state(), "position")["valid"] == [2.5]
