"""The reporter of gradients: vanishing and exploding gradients, and no effect on training."""

from __future__ import annotations

import math
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from lmgrid.spec import Context, Reading, Recipe, Reporter
from lmgrid.testing import sample_tokens, sample_vocabulary
from lmgrid_rnn.parts import RnnPart
from lmgrid_rnn.reporter_parts import GradientsPart
from lmgrid_torch.optimizers.parts import AdamPart
from lmgrid_torch.regularizers.parts import ClipPart, DropoutPart, WeightDropPart
from lmgrid_window.parts import WindowPart

pytest.importorskip("torch", reason="needs the extra lmgrid[torch]")

import torch

from lmgrid_rnn.gradients import WARM, pieces, reaches, spectral_radii, unroll
from lmgrid_rnn.layer import FORGET
from lmgrid_rnn.network import RecurrentNetwork
from lmgrid_torch.model import NeuralModel

V = 11
TOKENS = sample_tokens(V, seed=2, count=300)
Cell = Literal["elman", "relu", "lstm", "gru"]
EACH_CELL = pytest.mark.parametrize("cell", ["elman", "relu", "lstm", "gru"])


def context() -> Context:
    counts = np.bincount(sample_tokens(V, seed=1), minlength=V)
    return Context(
        vocabulary=sample_vocabulary(V), counts=counts, seed=0, device="cpu", cache=Path()
    )


def model(cell: Cell = "elman", layers: int = 1) -> NeuralModel:
    made = RnnPart(cell=cell, embedding=3, hidden=4, layers=layers, batch=5, steps=7).make(
        context()
    )
    assert isinstance(made, NeuralModel)
    return made


def network(cell: Cell = "elman", layers: int = 1) -> RecurrentNetwork:
    made = model(cell, layers).network.double()
    assert isinstance(made, RecurrentNetwork)
    return made


def curve(made: RecurrentNetwork, lags: int, name: str = "layer1.state_gradient") -> list[float]:
    """Return the norms of one name by lag, which begins at 0, for a cell at 1."""
    found = [r for r in reaches(made, torch.from_numpy(TOKENS).long(), lags) if r.name == name]
    assert [r.at for r in found] == list(range(lags + 1 - len(found), lags + 1))
    return [r.value for r in found if r.value is not None]


# ---------------------------------------------------------------- vanishing and exploding


@pytest.mark.parametrize("c", [0.5, 1.0, 1.5])
def test_gradients_are_c_to_the_lag_where_w_h_is_c_times_the_identity(c: float) -> None:
    """Linear case: ∂J(t)/∂h(t-ℓ) = ∂J(t)/∂h(t) W_h^ℓ, which vanishes, stays or explodes.

    With positive inputs and c ≥ 0, all states are positive, where relu is the identity.
    """
    made = network("relu")
    with torch.no_grad():
        made.word_vectors()[0].abs_()
        made.layers[0].input_weight.abs_()
        made.layers[0].recurrent_weight.copy_(c * torch.eye(4)[None])
    norms = curve(made, 12)
    assert norms == pytest.approx([norms[0] * c**lag for lag in range(13)], rel=1e-9)


@pytest.mark.parametrize("c", [0.5, 2.0])
def test_the_tanh_only_shrinks_what_the_linear_case_says(c: float) -> None:
    """|tanh'| ≤ 1: with W_h = c I the norm at ℓ is at most c^ℓ times that at 0."""
    made = network("elman")
    with torch.no_grad():
        made.layers[0].recurrent_weight.copy_(c * torch.eye(4)[None])
    norms = curve(made, 12)
    assert all(norm <= norms[0] * c**lag * (1 + 1e-9) for lag, norm in enumerate(norms))


def test_orthogonal_recurrent_weights_keep_the_length_of_the_linear_case() -> None:
    """All |eigenvalues| are 1: with vanishing activations the norm is constant."""
    made = network("elman")
    with torch.no_grad():
        torch.nn.init.orthogonal_(made.layers[0].recurrent_weight[0])
        made.word_vectors()[0].mul_(1e-6)
    norms = curve(made, 20)
    assert norms == pytest.approx([norms[0]] * 21, rel=1e-6)
    assert [r.value for r in spectral_radii(made)] == pytest.approx([1])


def test_an_open_lstm_remembers_where_an_elman_network_forgets() -> None:
    """c(t) = f c(t-1) + …: with f ≈ 1 and W_h = 0 the slope of c stays and that of h is gone."""
    made = network("lstm")
    with torch.no_grad():
        made.layers[0].recurrent_weight.zero_()
        made.layers[0].bias.view(4, -1)[FORGET] = 50.0
    cells, states = curve(made, 20, "layer1.cell_gradient"), curve(made, 20)
    assert len(cells) == 20
    assert cells == pytest.approx([cells[0]] * 20)
    assert cells[0] > 0
    assert states[1:] == [0] * 20


# ---------------------------------------------------------------- what the figures are


@torch.no_grad()
def losses(made: RecurrentNetwork, place: tuple[int, int], nudge: torch.Tensor) -> torch.Tensor:
    """Return J(t) of each piece, (B,), with h of a (layer, lag) perturbed."""
    layer, lag = place
    inputs, targets = pieces(torch.from_numpy(TOKENS).long(), WARM + LAGS + 1)
    step, state = len(inputs) - 1 - lag, None
    for i, words in enumerate(torch.split(inputs, 1)):
        hook = made.layers[layer].norm.register_forward_pre_hook(
            lambda _, given, add=float(i == step): (given[0] + add * nudge,)
        )
        h, state = made.states(words, state)
        hook.remove()
        if i == step:
            (first, *others) = state[layer]
            state = (*state[:layer], (first + nudge, *others), *state[layer + 1 :])
    return -made.output.score(h[0], targets)


LAGS = 5


@EACH_CELL
@pytest.mark.parametrize("layers", [1, 2])
def test_norms_are_those_of_finite_differences(cell: Cell, layers: int) -> None:
    """The reported gradient is the derivative of J(t) by each state of each layer."""
    made = network(cell, layers)
    for part in made.layers:  # away from the kink that relu has at 0
        torch.nn.init.normal_(part.bias, generator=torch.Generator().manual_seed(0))
    for layer in range(layers):
        norms = curve(made, LAGS, f"layer{layer + 1}.state_gradient")
        for lag in (0, 1, LAGS):
            slopes = [
                losses(made, (layer, lag), 1e-6 * unit) - losses(made, (layer, lag), -1e-6 * unit)
                for unit in torch.eye(4, dtype=torch.float64)
            ]
            norm = (torch.stack(slopes) / 2e-6).norm(dim=0).mean()
            assert norms[lag] == pytest.approx(float(norm), rel=1e-5, abs=1e-9)


def test_the_spectral_radius_is_the_largest_absolute_eigenvalue() -> None:
    """Of a rotation by 90° times 3 it is 3, at each gate's own number."""
    made = network("gru")
    with torch.no_grad():
        weight = made.layers[0].recurrent_weight.zero_()
        weight[0].copy_(torch.diag(torch.tensor([1.0, -2.0, 0.5, 0.0])))
        weight[1, 0, 1], weight[1, 1, 0] = 3.0, -3.0
        weight[2, 0, 1] = 7.0  # nilpotent
    found = list(spectral_radii(made))
    assert [r.value for r in found] == pytest.approx([2, 3, 0])
    assert [r.at for r in found] == [1, 2, 3]
    assert {r.name for r in found} == {"layer1.spectral_radius"}


def test_pieces_lie_in_the_whole_text() -> None:
    """The first begins at token 0, the last ends at the end, and targets follow inputs."""
    tokens = torch.arange(100, 400)
    inputs, targets = pieces(tokens, 10)
    assert inputs.shape == (10, 32)
    assert inputs[:, 0].tolist() == [1, *range(100, 109)]
    assert targets[-1] == 399
    assert torch.equal(inputs[-1] + 1, targets)


@pytest.mark.parametrize("order", [0, 3])
@pytest.mark.parametrize("layers", [1, 2])
def test_the_loss_is_the_one_that_scoring_has(order: int, layers: int) -> None:
    """Features step by step are those of one pass, with n-gram features beside them too."""
    part = RnnPart(embedding=3, hidden=4, layers=layers, direct_order=order, direct_size=64)
    made = network_of(part.make(context()))
    inputs, _ = pieces(torch.from_numpy(TOKENS).long(), 9)
    features, _ = unroll(made, inputs)
    whole, _ = made(inputs, None)
    torch.testing.assert_close(features, whole[-len(features) :])


def test_a_short_text_has_the_lags_that_it_has() -> None:
    """Four words give lags 0 to 3."""
    found = list(reaches(network(), torch.from_numpy(TOKENS[:4]).long(), 30))
    assert [r.at for r in found] == [0, 1, 2, 3]


def named(readings: list[Reading]) -> dict[str, float | None]:
    return {r.name: r.value for r in readings if r.at is None}


def test_lengths_are_mean_and_maximum_since_the_last_point() -> None:
    """Two steps of 5 and 13, clipped to 6.5; a third is alone after the point."""
    made, reporter = model(), GradientsPart(lags=0).make(context())
    module, clip = torch.nn.Linear(3, 1, bias=False), ClipPart(norm=6.5).make(context())

    def step(*gradient: float) -> None:
        module.weight.grad = torch.tensor([gradient])
        reporter.gradients(module, updated=False)
        clip.update(module, 0.1)
        reporter.gradients(module, updated=True)

    step(3.0, 4.0, 0.0)
    step(3.0, 4.0, 12.0)
    said = named(list(reporter.readings(made, TOKENS)))
    assert said["gradient_norm.mean"] == pytest.approx(9)
    assert said["gradient_norm.max"] == pytest.approx(13)
    assert said["updated_gradient_norm.mean"] == pytest.approx(5.75)
    assert said["updated_gradient_norm.max"] == pytest.approx(6.5)
    step(0.0, 0.0, 2.0)
    assert named(list(reporter.readings(made, TOKENS)))["gradient_norm.max"] == 2
    assert "gradient_norm.max" not in named(list(reporter.readings(made, TOKENS)))


def test_a_step_that_is_taken_back_leaves_the_others_lengths() -> None:
    """Norms that are not finite are left out; without any other norm the value is None."""
    made, reporter = model(), GradientsPart(lags=0).make(context())
    module = torch.nn.Linear(2, 1, bias=False)
    for gradient in ([3.0, 4.0], [math.nan, 1.0], [math.inf, 1.0]):
        module.weight.grad = torch.tensor([gradient])
        reporter.gradients(module, updated=False)
    said = named(list(reporter.readings(made, TOKENS)))
    assert (said["gradient_norm.mean"], said["gradient_norm.max"]) == (5, 5)
    reporter.gradients(module, updated=False)
    said = named(list(reporter.readings(made, TOKENS)))
    assert (said["gradient_norm.mean"], said["gradient_norm.max"]) == (None, None)


def test_what_is_not_finite_is_none() -> None:
    """The value of a reading is None, and nothing is raised."""
    made, reporter = model(), GradientsPart(lags=1).make(context())
    with torch.no_grad():
        network_of(made).layers[0].recurrent_weight.fill_(float("nan"))
    assert {r.value for r in reporter.readings(made, TOKENS)} == {None}


def network_of(made: object) -> RecurrentNetwork:
    assert isinstance(made, NeuralModel)
    assert isinstance(made.network, RecurrentNetwork)
    return made.network


def test_a_model_without_recurrence_is_refused() -> None:
    """By its sites in a grid; and here by a message that says what to do."""
    assert not set(GradientsPart.sites) <= set(WindowPart().sites)
    assert set(GradientsPart.sites) <= set(RnnPart().sites)
    made = WindowPart(embedding=3, hidden=4).make(context())
    with pytest.raises(ValueError, match="reads the model rnn"):
        list(GradientsPart().make(context()).readings(made, TOKENS))


# ---------------------------------------------------------------- no trace


def trained(cell: Cell, *reporters: Reporter) -> NeuralModel:
    """Train for three points as the runner does, with the reporters' readings at each."""
    made = model(cell)
    parts = (DropoutPart(rate=0.5), WeightDropPart(), ClipPart())
    regularizers = tuple(part.make(context()) for part in parts)
    optimizer = AdamPart(lr=0.01).make(context())
    how = Recipe(
        optimizer, regularizers, seed=0, budget=None, point_interval=200, reporters=reporters
    )
    with closing(made.fit(sample_tokens(V, seed=1, count=450), how)) as fitting:
        for _ in islice(fitting, 5):
            for reporter in reporters:
                assert list(reporter.readings(made, TOKENS))
    return made


@EACH_CELL
def test_training_is_bitwise_the_same_with_and_without(cell: Cell) -> None:
    """Weights and the state of training but for the reporter's, random states included."""
    before = torch.get_rng_state()
    plain, watched = trained(cell), trained(cell, GradientsPart(lags=4).make(context()))
    assert torch.equal(torch.get_rng_state(), before)
    one, two = plain.state(), watched.state()
    assert {**one.values, "reporters": []} == {**two.values, "reporters": []}
    assert one.arrays.keys() == {name for name in two.arrays if not name.startswith("reporters")}
    for name in one.arrays:
        np.testing.assert_array_equal(one.arrays[name], two.arrays[name])


def test_the_mode_and_the_gradients_of_a_network_stay() -> None:
    """The mode of the network is restored, and no hook remains."""
    made = model()
    made.network.train()
    list(GradientsPart(lags=2).make(context()).readings(made, TOKENS))
    assert made.network.training
    assert all(p.grad is None for p in made.network.parameters())
    assert not network_of(made).layers[0].norm._forward_pre_hooks
