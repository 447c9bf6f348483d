"""The softmax layer and its hand-written gradient."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="needs the extra lmgrid[torch]")

import torch

from lmgrid_torch.outputs.softmax import MASKED, Softmax, SoftmaxLoss


def arguments(rows: int = 6, features: int = 3, vocabulary: int = 5) -> list[torch.Tensor]:
    """Return features, weights and biases in double precision."""
    draw = torch.Generator().manual_seed(0)
    shapes = ((rows, features), (vocabulary, features), (vocabulary,))
    return [torch.randn(s, generator=draw).double().requires_grad_() for s in shapes]


TARGETS = torch.tensor([0, 4, MASKED, 2, 2, MASKED])


def loss(features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = SoftmaxLoss.apply(features, weight, bias, TARGETS)  # type: ignore[no-untyped-call]
    return found


def test_the_loss_is_torch_s_cross_entropy() -> None:
    """Value and gradients equal torch's, masked targets left out of the mean."""
    made = arguments()
    expected = torch.nn.functional.cross_entropy(
        torch.nn.functional.linear(*made), TARGETS, ignore_index=MASKED
    )
    found = loss(*made)
    torch.testing.assert_close(found, expected)
    one, two = (torch.autograd.grad(3 * loss, made) for loss in (found, expected))
    torch.testing.assert_close(one, two)


def test_the_gradient_is_the_derivative() -> None:
    """In each argument, by finite differences."""
    assert torch.autograd.gradcheck(loss, arguments())


def test_a_hopeless_target_has_a_finite_loss() -> None:
    """A gap of a thousand nats underflows the probability, not its logarithm."""
    layer = Softmax(features=1, vocabulary=2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1000.0], [0.0]]))
        layer.bias.zero_()
    assert layer.loss(torch.ones(1, 1), torch.tensor([1])).item() == 1000
    assert layer.score(torch.ones(1, 1), torch.tensor([1])).item() == -1000


def test_all_ways_to_a_probability_agree() -> None:
    """Loss, score and the whole distribution agree for each target."""
    layer, targets = Softmax(features=3, vocabulary=5), torch.tensor([0, 4, 3, 2, 2, 1])
    features, weight, bias = arguments()
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
        rows = features.float()
        whole = layer(rows)
        scores = layer.score(rows, targets)
        assert whole.dtype == torch.float64
        assert whole.exp().sum(1).tolist() == pytest.approx([1] * 6, abs=1e-12)
        assert whole[torch.arange(6), targets].tolist() == pytest.approx(scores.tolist(), abs=1e-6)
        assert layer.loss(rows, targets).item() == pytest.approx(-scores.mean().item(), abs=1e-6)
