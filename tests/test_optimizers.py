"""Each optimizer's first steps, against the published update written out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from lmgrid.spec import Context, Optimizer, OptimizerPart
from lmgrid.testing import sample_vocabulary
from lmgrid_torch.optimizers.parts import (
    AdagradPart,
    AdamPart,
    AdamWPart,
    AsgdPart,
    NAdamWPart,
    RmsPropPart,
    SgdPart,
)

pytest.importorskip("torch", reason="needs the extra lmgrid[torch]")

import torch

from lmgrid_torch.optimizers.averaging import AveragedSgd
from lmgrid_torch.optimizers.torch_optimizer import TorchOptimizer

GRADIENTS = (0.5, -1.5, 0.25)
START = 2.0
CONTEXT = Context(
    vocabulary=sample_vocabulary(3),
    counts=np.ones(3, dtype=np.int64),
    seed=0,
    device="cpu",
    cache=Path(),
)

Steps = list[float]


def steps(part: OptimizerPart) -> Steps:
    """Return a weight after each of three steps."""
    weight = torch.nn.Parameter(torch.tensor([START], dtype=torch.float64))
    optimizer = part.make(CONTEXT)([weight])
    stands = []
    for gradient in GRADIENTS:
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        stands.append(weight.item())
    return stands


def follow(update: Callable[[float, float, int], float]) -> Steps:
    """Return the same, from a function of (weight, gradient, t)."""
    weight, stands = START, []
    for t, gradient in enumerate(GRADIENTS, start=1):
        weight = update(weight, gradient, t)
        stands.append(weight)
    return stands


@dataclass(frozen=True, kw_only=True)
class SlowSgdPart(SgdPart):
    """A third party's optimizer: another default, and the make of its parent."""

    lr: float = 0.01


@dataclass(frozen=True, kw_only=True)
class RoundedSgdPart(SgdPart):
    """A third party's optimizer: the parent's options, and a make of its own."""

    def make(self, context: Context) -> Optimizer:
        return TorchOptimizer(
            build=torch.optim.SGD, lr=round(self.lr), schedule=self.make_schedule()
        )


def test_a_subclass_makes_what_its_parent_makes() -> None:
    """It may change options, make, or both."""
    assert steps(SlowSgdPart()) == steps(SgdPart(lr=0.01))
    assert steps(SlowSgdPart(momentum=0.5)) == steps(SgdPart(lr=0.01, momentum=0.5))
    assert steps(RoundedSgdPart(lr=1.4)) == steps(SgdPart(lr=1.0))


def test_sgd() -> None:
    """θ ← θ - η g."""
    assert steps(SgdPart(lr=0.1)) == pytest.approx(follow(lambda w, g, t: w - 0.1 * g))


def test_sgd_with_momentum() -> None:
    """v ← μ v + g; θ ← θ - η v (Polyak 1964, with the rate outside)."""
    v = 0.0

    def update(w: float, g: float, t: int) -> float:
        nonlocal v
        v = 0.9 * v + g
        return w - 0.1 * v

    assert steps(SgdPart(lr=0.1, momentum=0.9)) == pytest.approx(follow(update))


def test_sgd_with_nesterov_momentum() -> None:
    """v ← μ v + g; θ ← θ - η (g + μ v) (Nesterov 1983, as in Sutskever et al. 2013)."""
    v = 0.0

    def update(w: float, g: float, t: int) -> float:
        nonlocal v
        v = 0.9 * v + g
        return w - 0.1 * (g + 0.9 * v)

    assert steps(SgdPart(lr=0.1, momentum=0.9, nesterov=True)) == pytest.approx(follow(update))


def test_adagrad() -> None:
    """s ← s + g²; θ ← θ - η g / (√s + ε) (Duchi et al. 2011)."""
    s = 0.0

    def update(w: float, g: float, t: int) -> float:
        nonlocal s
        s += g * g
        return w - 0.1 * g / (math.sqrt(s) + 1e-3)

    assert steps(AdagradPart(lr=0.1, eps=1e-3)) == pytest.approx(follow(update))


@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_rmsprop(momentum: float) -> None:
    """s ← k s + (1 - k) g²; v ← μ v + g / (√s + ε); θ ← θ - η v (Tieleman and Hinton 2012)."""
    s = v = 0.0

    def update(w: float, g: float, t: int) -> float:
        nonlocal s, v
        s = 0.9 * s + 0.1 * g * g
        v = momentum * v + g / (math.sqrt(s) + 1e-3)
        return w - 0.1 * v

    part = RmsPropPart(lr=0.1, alpha=0.9, eps=1e-3, momentum=momentum)
    assert steps(part) == pytest.approx(follow(update))


def adam_by_hand(decay: float) -> Steps:
    """m, s: running means, each over 1 - βᵗ; θ ← (1 - η λ) θ - η m̂ / (√ŝ + ε)."""
    m = s = 0.0

    def update(w: float, g: float, t: int) -> float:
        nonlocal m, s
        m = 0.8 * m + 0.2 * g
        s = 0.9 * s + 0.1 * g * g
        unbiased_m, unbiased_s = m / (1 - 0.8**t), s / (1 - 0.9**t)
        return w * (1 - 0.1 * decay) - 0.1 * unbiased_m / (math.sqrt(unbiased_s) + 1e-3)

    return follow(update)


def test_adam() -> None:
    """Kingma and Ba 2015, Algorithm 1."""
    assert steps(AdamPart(lr=0.1, beta1=0.8, beta2=0.9, eps=1e-3)) == pytest.approx(adam_by_hand(0))


def test_adamw() -> None:
    """Loshchilov and Hutter 2019, Algorithm 2: the decay does not pass through the means."""
    part = AdamWPart(lr=0.1, beta1=0.8, beta2=0.9, eps=1e-3, weight_decay=0.3)
    assert steps(part) == pytest.approx(adam_by_hand(0.3))


def test_nadamw() -> None:
    """Dozat 2016, Algorithm 2, with its schedule of momentum, and decoupled decay.

    μ(t) = β₁ (1 - ½ 0.96^(tψ)); m̂ = μ(t+1) m / (1 - Π μ up to t+1) + (1 - μ(t)) g / (1 - Π μ).
    """
    m = s = 0.0
    product = 1.0

    def mu(t: int) -> float:
        return 0.8 * (1 - 0.5 * math.pow(0.96, t * 0.1))

    def update(w: float, g: float, t: int) -> float:
        nonlocal m, s, product
        m = 0.8 * m + 0.2 * g
        s = 0.9 * s + 0.1 * g * g
        product *= mu(t)
        ahead = mu(t + 1) * m / (1 - product * mu(t + 1))
        nesterov = ahead + (1 - mu(t)) * g / (1 - product)
        return w * (1 - 0.1 * 0.3) - 0.1 * nesterov / (math.sqrt(s / (1 - 0.9**t)) + 1e-3)

    part = NAdamWPart(lr=0.1, beta1=0.8, beta2=0.9, eps=1e-3, weight_decay=0.3, momentum_decay=0.1)
    assert steps(part) == pytest.approx(follow(update))


def averaged() -> tuple[torch.nn.Parameter, AveragedSgd]:
    """Return a weight after three steps of rate 0.1, averaged from the second on."""
    weight = torch.nn.Parameter(torch.tensor([START], dtype=torch.float64))
    optimizer = AsgdPart(lr=0.1).make(CONTEXT)([weight])
    assert isinstance(optimizer, AveragedSgd)
    for t, gradient in enumerate(GRADIENTS):
        optimizer.param_groups[0]["averaging"] = int(t >= 1)
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
    return weight, optimizer


def test_asgd() -> None:
    """Steps are those of sgd; scoring uses the mean of θ(2) and θ(3) (Polyak, Juditsky 1992)."""
    weight, optimizer = averaged()
    stands = follow(lambda w, g, t: w - 0.1 * g)
    assert weight.item() == pytest.approx(stands[2])
    optimizer.eval()
    assert weight.item() == pytest.approx((stands[1] + stands[2]) / 2)
    optimizer.train()
    assert weight.item() == pytest.approx(stands[2])


def test_scoring_twice_is_scoring_once() -> None:
    """Neither eval nor train swaps a second time."""
    weight, optimizer = averaged()
    raw = weight.item()
    optimizer.train()
    assert weight.item() == raw
    optimizer.eval()
    mean = weight.item()
    optimizer.eval()
    assert weight.item() == mean
    assert mean != raw


@pytest.mark.parametrize(
    "part",
    [SgdPart(), AdamPart(), AdamWPart(), NAdamWPart(), AdagradPart(), RmsPropPart(), AsgdPart()],
)
def test_a_weight_without_gradient_stays(part: OptimizerPart) -> None:
    """A parameter that is not trained does not change."""
    weights = [torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2), False)]
    optimizer = part.make(CONTEXT)(weights)
    weights[0].grad = torch.ones(2)
    optimizer.step()
    assert (weights[0] < 1).all()
    assert (weights[1] == 1).all()


@pytest.mark.parametrize("part", [SgdPart(), AdamPart(), AdamWPart(), AdagradPart()])
def test_the_fused_form_is_taken_where_torch_has_one(part: OptimizerPart) -> None:
    """On a CPU, one pass over all parameters."""
    optimizer = part.make(CONTEXT)([torch.nn.Parameter(torch.ones(2))])
    assert optimizer.defaults["fused"]
