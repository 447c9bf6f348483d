"""Regularizers, each by its own law."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from lmgrid.grid import Grid, GridError
from lmgrid.spec import Context, Progress, Recipe, Regularizer, RegularizerPart
from lmgrid.testing import sample_tokens, sample_vocabulary
from lmgrid_rnn.parts import RnnPart
from lmgrid_torch.optimizers.parts import AdamPart, AdamWPart, SgdPart
from lmgrid_torch.parts import NeuralPart
from lmgrid_torch.regularizers.parts import (
    ActivationPart,
    ClipPart,
    DropoutPart,
    EmbeddingDropoutPart,
    L1Part,
    L2Part,
    LabelSmoothingPart,
    TemporalActivationPart,
    VariationalDropoutPart,
    WeightDecayPart,
    WeightDropPart,
)
from lmgrid_window.parts import WindowPart

pytest.importorskip("torch", reason="needs the extra lmgrid[torch]")

import torch
from torch.nn import functional as F

from lmgrid_torch.model import NeuralModel
from lmgrid_torch.network import Network
from lmgrid_torch.outputs.softmax import MASKED, Softmax
from lmgrid_torch.regularizers.site import Site, sites


def context(seed: int = 0) -> Context:
    return Context(
        vocabulary=sample_vocabulary(3),
        counts=np.ones(3, dtype=np.int64),
        seed=seed,
        device="cpu",
        cache=Path(),
    )


def network() -> torch.nn.Sequential:
    """Return a linear layer between an ``input`` and a ``hidden`` site."""
    return torch.nn.Sequential(Site("input"), torch.nn.Linear(3, 2, bias=False), Site("hidden"))


def dropped(rate: float, seed: int = 0) -> torch.Tensor:
    """Return ones after dropout at the hidden site."""
    module = network()
    DropoutPart(rate=rate, input_rate=0).make(context(seed)).layers(module)
    return at_hidden(module, torch.ones(400, 500))


def at_hidden(module: torch.nn.Module, values: torch.Tensor) -> torch.Tensor:
    """Return values after the actions at the site ``hidden``."""
    (site,) = (site for site in sites(module) if site.name == "hidden")
    return site.forward(values)


@dataclass(frozen=True, kw_only=True)
class StrongL2Part(L2Part):
    """A third party's regularizer: another default, and the make of its parent."""

    weight: float = 0.5


def test_a_subclass_makes_what_its_parent_makes() -> None:
    """It may change an option without a make of its own."""
    module = torch.nn.Linear(2, 1, bias=False)
    torch.nn.init.constant_(module.weight, 3)
    with torch.no_grad():
        assert StrongL2Part().make(context()).loss(module) == 0.5 * 2 * 3**2


# ---------------------------------------------------------------- dropout


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_zeroes_at_its_rate_and_keeps_the_mean(rate: float) -> None:
    """A unit is 0 with probability ``rate``, else divided by what is kept: the mean is kept."""
    values = dropped(rate)
    assert sorted(set(values.flatten().tolist())) == pytest.approx([0, 1 / (1 - rate)])
    deviation = (rate / (1 - rate) / values.numel()) ** 0.5  # of the mean, by the binomial law
    assert float(values.mean()) == pytest.approx(1, abs=5 * deviation)


def test_dropout_has_its_own_rate_at_the_input() -> None:
    """Each site has the rate of its name, and a site of another name has none."""
    places = [Site("input"), Site("hidden"), Site("logits")]
    module = torch.nn.Sequential(*places, torch.nn.Linear(1, 1))
    DropoutPart(rate=0.5, input_rate=0.15).make(context()).layers(module)
    zeros = [float((site(torch.ones(100_000)) == 0).float().mean()) for site in sites(module)]
    assert zeros == pytest.approx([0.15, 0.5, 0], abs=0.01)


def test_dropout_is_off_outside_training() -> None:
    """In evaluation a site is the identity."""
    module = network()
    DropoutPart(rate=0.5).make(context()).layers(module)
    values = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(at_hidden(module.eval(), values), values)
    assert not torch.equal(at_hidden(module.train(), values), values)


def test_dropout_draws_from_the_seed_alone() -> None:
    """One seed gives the same masks, another gives others, whatever else is drawn."""
    first = dropped(0.5)
    torch.rand(3)
    assert torch.equal(dropped(0.5), first)
    assert not torch.equal(dropped(0.5, seed=1), first)


def test_dropout_passes_gradients_where_it_kept() -> None:
    """The derivative of a kept unit is 1 / (1 - rate), of a dropped one 0."""
    module = network()
    DropoutPart(rate=0.5).make(context()).layers(module)
    values = torch.ones(100, requires_grad=True)
    out = at_hidden(module, values)
    (slopes,) = torch.autograd.grad(out.sum(), values)
    assert torch.equal(slopes, out.detach())


# ---------------------------------------------------------------- what shares a draw


def at(name: str, part: RegularizerPart, values: torch.Tensor, steps: int = 1) -> torch.Tensor:
    """Return values after a regularizer's action at the site ``name``, in its last step."""
    site = Site(name)
    module = torch.nn.Sequential(site, torch.nn.Linear(1, 1))
    part.make(context()).layers(module)
    for _ in range(steps):
        out = site(values)
    assert isinstance(out, torch.Tensor)
    return out


def test_variational_dropout_has_one_mask_for_all_steps() -> None:
    """(T, B, H): a unit of a sequence is dropped at every step or at none."""
    out = at("hidden", VariationalDropoutPart(rate=0.5), torch.ones(7, 40, 50))
    assert torch.equal(out, out[:1].expand_as(out))
    assert sorted(set(out.flatten().tolist())) == [0, 2]
    assert float(out.mean()) == pytest.approx(1, abs=5 / 2000**0.5)


def test_variational_dropout_has_a_mask_for_each_sequence_unit_and_step_of_training() -> None:
    """Two sequences, two units and two batches differ."""
    once, again = (
        at("between", VariationalDropoutPart(), torch.ones(2, 40, 50), n) for n in (1, 2)
    )
    assert not torch.equal(once[0, 0], once[0, 1])
    assert not torch.equal(once[0, :, 0], once[0, :, 1])
    assert not torch.equal(once, again)


def test_variational_dropout_refuses_what_has_no_time() -> None:
    """The message says what to use instead."""
    with pytest.raises(ValueError, match=r"not \(4, 3\); use dropout"):
        at("hidden", VariationalDropoutPart(), torch.ones(4, 3))


def test_embedding_dropout_drops_whole_words() -> None:
    """A row of the table is zero, or divided by what is kept: the mean is kept."""
    table = torch.rand(4000, 5, generator=torch.Generator().manual_seed(0)) + 1
    out = at("embedding", EmbeddingDropoutPart(rate=0.2), table)
    gone = (out == 0).all(1)
    torch.testing.assert_close(out[~gone], table[~gone] / 0.8)
    assert float(gone.float().mean()) == pytest.approx(0.2, abs=5 * (0.16 / 4000) ** 0.5)


def test_weight_drop_drops_single_weights() -> None:
    """Each recurrent weight has a draw of its own, and the mean is kept."""
    out = at("recurrent_weight", WeightDropPart(rate=0.4), torch.ones(200, 200))
    assert sorted(set(out.flatten().tolist())) == pytest.approx([0, 1 / 0.6])
    zeros = (out == 0).float()
    assert float(zeros.mean()) == pytest.approx(0.4, abs=5 * (0.24 / 40_000) ** 0.5)
    assert 0 < float(zeros[0].mean()) < 1


def test_kinds_of_dropout_draw_apart() -> None:
    """One seed gives each kind masks of its own, and a generator that a checkpoint can find."""
    ones = torch.ones(1, 30, 40)
    plain, locked = at("hidden", DropoutPart(), ones), at("hidden", VariationalDropoutPart(), ones)
    assert not torch.equal(plain, locked)
    regularizer = WeightDropPart().make(context())
    regularizer.layers(network())
    assert isinstance(getattr(regularizer, "draw", None), torch.Generator)


def test_regularizers_act_in_the_order_of_their_list() -> None:
    """Actions are applied in the order of the grid: a penalty sees only the dropout before it."""
    for parts, seen in (
        ((DropoutPart(rate=0.5), ActivationPart(weight=1)), 2.0),  # half of 2² and half of 0
        ((ActivationPart(weight=1), DropoutPart(rate=0.5)), 1.0),
    ):
        module = network()
        made = [part.make(context()) for part in parts]
        for regularizer in made:
            regularizer.layers(module)
        at_hidden(module, torch.ones(300, 20, 30))
        penalty = sum(float(regularizer.loss(module)) for regularizer in made)
        assert penalty == pytest.approx(seen, abs=0.05)


# ---------------------------------------------------------------- penalties on activations


def penalty(part: RegularizerPart, *values: torch.Tensor) -> torch.Tensor:
    """Return what is added to the loss after values passed the hidden site."""
    module, made = network(), part.make(context())
    made.layers(module)
    for value in values:
        at_hidden(module, value)
    return torch.as_tensor(made.loss(module))


def test_activation_is_alpha_times_the_mean_square() -> None:
    """α (1 + 4 + 9 + 16) / 4, and its slope 2 α h / 4."""
    h = torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]], requires_grad=True)
    found = penalty(ActivationPart(weight=0.5), h)
    assert found.item() == pytest.approx(0.5 * 30 / 4)
    found.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(h.grad, 0.25 * h.detach())


def test_temporal_activation_is_beta_times_the_mean_square_change() -> None:
    """Two streams over three steps: (1, 2) and (0, -3) are the changes."""
    h = torch.tensor([[[1.0], [5.0]], [[2.0], [5.0]], [[4.0], [2.0]]])  # (3, 2, 1)
    found = penalty(TemporalActivationPart(weight=0.5), h)
    assert found.item() == pytest.approx(0.5 * (1 + 0 + 4 + 9) / 4)


def test_temporal_activation_of_one_step_is_zero() -> None:
    """The penalty of a single time step is 0."""
    assert penalty(TemporalActivationPart(), torch.ones(1, 3, 2)).item() == 0


def test_a_penalty_is_of_its_own_step() -> None:
    """Values are collected for one step only, and none are collected in evaluation."""
    module, made = network(), ActivationPart(weight=1).make(context())
    made.layers(module)
    for size in (1.0, 3.0):
        at_hidden(module, torch.full((2, 2, 2), size))
        assert float(made.loss(module)) == size**2
    at_hidden(module.eval(), torch.ones(2, 2, 2))
    assert float(made.loss(module)) == 0


# ---------------------------------------------------------------- label smoothing


Case = tuple[torch.Tensor, Softmax, torch.Tensor]


def smoothed(case: Case, share: float) -> torch.Tensor:
    """Return torch's own cross-entropy with smoothed labels."""
    features, output, targets = case
    logits = output.logits(features)
    return F.cross_entropy(logits, targets, ignore_index=MASKED, label_smoothing=share)


def test_label_smoothing_adds_what_torch_s_own_loss_has() -> None:
    """Data loss and penalty sum to cross-entropy with smoothed labels, and so do gradients."""
    draw = torch.Generator().manual_seed(0)
    output = Softmax(features=4, vocabulary=7).double()
    for weight in output.parameters():
        torch.nn.init.normal_(weight, generator=draw)
    features = torch.randn(5, 4, generator=draw, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([3, 0, MASKED, 6, 3])
    module, made = torch.nn.Module(), LabelSmoothingPart(weight=0.3).make(context())
    module.output = output
    made.layers(module)
    plain = output.loss(features, targets)
    whole = plain + made.loss(module)
    expected = smoothed((features, output, targets), 0.3)
    torch.testing.assert_close(plain, smoothed((features, output, targets), 0.0))
    torch.testing.assert_close(whole, expected)
    arguments = [features, *output.parameters()]
    one, two = (torch.autograd.grad(loss, arguments) for loss in (whole, expected))
    torch.testing.assert_close(one, two)


@pytest.mark.parametrize("output", ["adaptive", "sampled"])
def test_label_smoothing_refuses_other_output_layers(
    output: Literal["adaptive", "sampled"],
) -> None:
    """They do not compute all words in training; the message says what to set."""
    part = replace(WINDOW, output=output)
    with pytest.raises(ValueError, match="set output = 'full'"):
        trained(part, LabelSmoothingPart())


# ---------------------------------------------------------------- in training


WINDOW = WindowPart(embedding=4, hidden=6, batch=32, cutoffs=(5,))
V = 30


def recipe(*parts: RegularizerPart, optimizer: AdamPart | SgdPart) -> Recipe:
    made: tuple[Regularizer, ...] = tuple(part.make(context()) for part in parts)
    return Recipe(optimizer.make(context()), made, seed=0, budget=None, point_interval=10**9)


def trained(
    model: NeuralPart, *parts: RegularizerPart, optimizer: AdamPart | SgdPart | None = None
) -> tuple[Network, Progress]:
    """Return a network after two epochs, and its report of the second."""
    train = sample_tokens(V, seed=1, count=320)
    counts = np.bincount(train, minlength=V)
    made = model.make(
        Context(vocabulary=sample_vocabulary(V), counts=counts, seed=0, device="cpu", cache=Path())
    )
    assert isinstance(made, NeuralModel)
    how = recipe(*parts, optimizer=optimizer or AdamPart(lr=0.01))
    _, progress = islice(made.fit(train, how), 2)
    return made.network, progress


ANYWHERE = (
    LabelSmoothingPart(),
    L1Part(),
    L2Part(),
    ActivationPart(),
    DropoutPart(),
    WeightDecayPart(),
    ClipPart(),
)
OVER_TIME = (
    TemporalActivationPart(),
    VariationalDropoutPart(),
    EmbeddingDropoutPart(),
    WeightDropPart(),
)
RNN = RnnPart(embedding=4, hidden=6, layers=2, batch=5, steps=7)


@pytest.mark.parametrize(
    ("part", "parts"),
    [(WINDOW, ANYWHERE), (RNN, OVER_TIME + ANYWHERE), (replace(RNN, cell="lstm"), OVER_TIME)],
    ids=["window", "rnn", "lstm"],
)
def test_all_together_repeat_bitwise(part: NeuralPart, parts: tuple[RegularizerPart, ...]) -> None:
    """Combined, they train, report a penalty, and give the same weights from the same seed."""
    (one, said), (two, again) = (trained(part, *parts) for _ in range(2))
    assert said == again
    assert said.penalty != 0
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("part", OVER_TIME, ids=lambda part: type(part).__name__)
def test_each_that_acts_over_time_changes_what_is_learned(part: RegularizerPart) -> None:
    """The recurrent model has the site of each."""
    (one, _), (two, _) = trained(RNN, part), trained(RNN)
    name = "layers.0.recurrent_weight"
    assert not torch.equal(one.get_parameter(name), two.get_parameter(name))


@pytest.mark.parametrize("name", ["weight-drop", "variational-dropout", "temporal-activation"])
def test_a_grid_is_refused_where_a_model_lacks_the_site(
    name: str, make_grid: Callable[..., Grid]
) -> None:
    """A window has no recurrent weights and no steps of time."""
    with pytest.raises(GridError, match=f"'{name}' acts at .*'window' has no such site"):
        make_grid(GRID.format("window", name))


@pytest.mark.parametrize("model", ["window", "rnn", "transformer"])
@pytest.mark.parametrize("option", ["output = 'adaptive'", "output = 'nce'", "direct_order = 3"])
def test_a_grid_is_refused_where_label_smoothing_has_no_logits(
    model: str, option: str, make_grid: Callable[..., Grid]
) -> None:
    """Only a full softmax computes them all in training; the message names the option."""
    text = GRID.format(model, "label-smoothing")
    assert make_grid(text).cells
    if model != "rnn" and option.startswith("direct"):
        return  # the others have no n-gram features
    changed = option.replace(" ", "").replace("'", "")
    with pytest.raises(GridError, match=rf"acts at margins; '{model}\[{changed}\]' has no such"):
        make_grid(text + option)


GRID = """
[[models]]
name = "{}"
budget = {{ epochs = 1 }}
optimizers = ["adam"]
regularizers = [["{}"]]
"""


def test_the_data_loss_stays_apart_from_smoothing() -> None:
    """At rate ≈ 0 smoothing changes the penalty alone."""
    still = SgdPart(lr=1e-30)
    _, plain = trained(WINDOW, optimizer=still)
    _, held = trained(WINDOW, LabelSmoothingPart(weight=0.5), optimizer=still)
    assert held.train_nats == plain.train_nats
    assert held.penalty > plain.penalty == 0


# ---------------------------------------------------------------- weight decay


def test_decay_beside_adam_is_adamw() -> None:
    """θ ← (1 - rate λ) θ before Adam's step equals torch's AdamW."""
    one, _ = trained(WINDOW, WeightDecayPart(weight=0.2))
    two, _ = trained(WINDOW, optimizer=AdamWPart(lr=0.01, weight_decay=0.2))
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_decay_leaves_alone_what_has_no_gradient() -> None:
    """θ is multiplied by 1 - rate · λ if it is trained, and unchanged otherwise."""
    module = torch.nn.Linear(2, 1)
    for parameter in module.parameters():
        torch.nn.init.constant_(parameter, 2.0)
    module.weight.grad = torch.zeros(1, 2)
    assert WeightDecayPart(weight=0.5).make(context()).update(module, rate=0.1) == 0
    assert module.weight.tolist() == [[pytest.approx(1.9)] * 2]
    assert module.bias.tolist() == [2]


# ---------------------------------------------------------------- l1


def test_l1_is_lambda_times_the_sum_of_absolute_values() -> None:
    """Its value is λ Σ |θ| and its gradient λ sign(θ), over all parameters."""
    module = torch.nn.Linear(3, 2)
    found = torch.as_tensor(L1Part(weight=0.25).make(context()).loss(module))
    sizes = sum(float(p.detach().abs().sum()) for p in module.parameters())
    assert found.item() == pytest.approx(0.25 * sizes)
    found.backward()  # type: ignore[no-untyped-call]
    for parameter in module.parameters():
        torch.testing.assert_close(parameter.grad, 0.25 * parameter.detach().sign())


# ---------------------------------------------------------------- l2


def test_l2_is_lambda_times_the_sum_of_squares() -> None:
    """Its value is λ Σ θ² and its gradient 2 λ θ, over all parameters."""
    module = torch.nn.Linear(3, 2)
    penalty = torch.as_tensor(L2Part(weight=0.25).make(context()).loss(module))
    squares = sum(float((p.detach() ** 2).sum()) for p in module.parameters())
    assert penalty.item() == pytest.approx(0.25 * squares)
    penalty.backward()  # type: ignore[no-untyped-call]
    for parameter in module.parameters():
        torch.testing.assert_close(parameter.grad, 0.5 * parameter.detach())


# ---------------------------------------------------------------- clip


def gradients(module: torch.nn.Module, *values: list[float]) -> None:
    for parameter, value in zip(module.parameters(), values, strict=True):
        parameter.grad = torch.tensor(value).view_as(parameter)


def linear() -> torch.nn.Linear:
    return torch.nn.Linear(2, 1)  # a weight (1, 2) and a bias (1,)


def test_clip_scales_a_long_gradient_to_the_norm() -> None:
    """If ‖g‖ ≥ threshold, g ← threshold / ‖g‖ · g, with one norm over all parameters."""
    module = linear()
    gradients(module, [3.0, 4.0], [12.0])  # its length is 13
    assert ClipPart(norm=6.5).make(context()).update(module, rate=0.1) == 1
    torch.testing.assert_close(module.weight.grad, torch.tensor([[1.5, 2.0]]))
    torch.testing.assert_close(module.bias.grad, torch.tensor([6.0]))


def test_clip_leaves_a_short_gradient_alone() -> None:
    """Below the threshold nothing changes and nothing is counted."""
    module = linear()
    gradients(module, [3.0, 4.0], [12.0])
    assert ClipPart(norm=13.1).make(context()).update(module, rate=0.1) == 0
    torch.testing.assert_close(module.weight.grad, torch.tensor([[3.0, 4.0]]))


def test_clip_acts_at_the_threshold_itself() -> None:
    """Algorithm 1 says ≥."""
    module = linear()
    gradients(module, [3.0, 4.0], [0.0])
    assert ClipPart(norm=5.0).make(context()).update(module, rate=0.1) == 1
    torch.testing.assert_close(module.weight.grad, torch.tensor([[3.0, 4.0]]))


def test_clip_passes_over_parameters_without_gradient() -> None:
    """A parameter that is not trained has no gradient."""
    module = linear()
    module.weight.grad = torch.tensor([[3.0, 4.0]])
    assert ClipPart(norm=1.0).make(context()).update(module, rate=0.1) == 1
    torch.testing.assert_close(module.weight.grad, torch.tensor([[0.6, 0.8]]))
    assert module.bias.grad is None
