"""Dropout, L2 and clipping, each by its own law."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lmgrid.spec import Context
from lmgrid.testing import sample_vocabulary
from lmgrid_torch.regularizer_parts import L2, Clip, Dropout

pytest.importorskip("torch", reason="needs the extra lmgrid[torch]")

import torch

from lmgrid_torch.site import Site, sites


def context(seed: int = 0) -> Context:
    return Context(sample_vocabulary(3), np.ones(3, dtype=np.int64), seed, "cpu", Path())


def network() -> torch.nn.Sequential:
    """Return a linear layer between an ``input`` and a ``hidden`` site."""
    return torch.nn.Sequential(Site("input"), torch.nn.Linear(3, 2, bias=False), Site("hidden"))


def dropped(rate: float, seed: int = 0) -> torch.Tensor:
    """Return what dropout at the hidden site makes of ones."""
    module = network()
    Dropout(rate=rate, input_rate=0).make(context(seed)).layers(module)
    return at_hidden(module, torch.ones(400, 500))


def at_hidden(module: torch.nn.Module, values: torch.Tensor) -> torch.Tensor:
    """Return what becomes of values at the site ``hidden``."""
    (site,) = (site for site in sites(module) if site.name == "hidden")
    return site.forward(values)


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
    Dropout(rate=0.5, input_rate=0.15).make(context()).layers(module)
    zeros = [float((site(torch.ones(100_000)) == 0).float().mean()) for site in sites(module)]
    assert zeros == pytest.approx([0.15, 0.5, 0], abs=0.01)


def test_dropout_is_off_outside_training() -> None:
    """In evaluation a site is the identity."""
    module = network()
    Dropout(rate=0.5).make(context()).layers(module)
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
    Dropout(rate=0.5).make(context()).layers(module)
    values = torch.ones(100, requires_grad=True)
    out = at_hidden(module, values)
    (slopes,) = torch.autograd.grad(out.sum(), values)
    assert torch.equal(slopes, out.detach())


# ---------------------------------------------------------------- l2


def test_l2_is_lambda_times_the_sum_of_squares() -> None:
    """Its value is λ Σ θ² and its gradient 2 λ θ, over all parameters."""
    module = torch.nn.Linear(3, 2)
    penalty = torch.as_tensor(L2(weight=0.25).make(context()).loss(module))
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
    assert Clip(norm=6.5).make(context()).update(module, rate=0.1) == 1
    torch.testing.assert_close(module.weight.grad, torch.tensor([[1.5, 2.0]]))
    torch.testing.assert_close(module.bias.grad, torch.tensor([6.0]))


def test_clip_leaves_a_short_gradient_alone() -> None:
    """Below the threshold nothing changes and nothing is counted."""
    module = linear()
    gradients(module, [3.0, 4.0], [12.0])
    assert Clip(norm=13.1).make(context()).update(module, rate=0.1) == 0
    torch.testing.assert_close(module.weight.grad, torch.tensor([[3.0, 4.0]]))


def test_clip_acts_at_the_threshold_itself() -> None:
    """Algorithm 1 says ≥."""
    module = linear()
    gradients(module, [3.0, 4.0], [0.0])
    assert Clip(norm=5.0).make(context()).update(module, rate=0.1) == 1
    torch.testing.assert_close(module.weight.grad, torch.tensor([[3.0, 4.0]]))


def test_clip_passes_over_parameters_without_gradient() -> None:
    """One that is not trained has none."""
    module = linear()
    module.weight.grad = torch.tensor([[3.0, 4.0]])
    assert Clip(norm=1.0).make(context()).update(module, rate=0.1) == 1
    torch.testing.assert_close(module.weight.grad, torch.tensor([[0.6, 0.8]]))
    assert module.bias.grad is None
