"""Under autocast, hand-written gradients equal those of the plain formula up to rounding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import pytest

pytest.importorskip("torch", reason="needs the extra lmgrid[torch]")

import torch
from torch.nn import functional as F

from lmgrid_rnn.layer import LayerSettings, RecurrentLayer
from lmgrid_torch.outputs.adaptive import Adaptive
from lmgrid_torch.outputs.ngram_features import NgramOutput
from lmgrid_torch.outputs.sampled import BlackOut, Noise, NoiseContrastive, SampledSoftmax
from lmgrid_torch.outputs.softmax import MASKED, Output, Softmax

N, FEATURES, V = 12, 8, 40
UNIT = 2**-8  # bfloat16 keeps 8 bits
NOISE = Noise(samples=10, power=0.75, seed=0)
OUTPUTS: dict[str, Callable[[], Output]] = {
    "full": lambda: Softmax(features=FEATURES, vocabulary=V),
    "adaptive": lambda: Adaptive(features=FEATURES, vocabulary=V, cutoffs=(10, 20), div_value=2.0),
    "sampled": lambda: SampledSoftmax(features=FEATURES, vocabulary=V, noise=NOISE),
    "nce": lambda: NoiseContrastive(
        features=FEATURES, vocabulary=V, noise=NOISE, log_normaliser=0.0
    ),
    "blackout": lambda: BlackOut(features=FEATURES, vocabulary=V, noise=NOISE),
    "direct": lambda: NgramOutput(Softmax(features=FEATURES - 2, vocabulary=V), order=3, size=1000),
    "direct-adaptive": lambda: NgramOutput(
        Adaptive(features=FEATURES - 2, vocabulary=V, cutoffs=(10, 20), div_value=2.0),
        order=3,
        size=1000,
    ),
}
Loss = Callable[[], torch.Tensor]


pytestmark = pytest.mark.filterwarnings("ignore:TF32 acceleration on top of oneDNN")  # of flags


@pytest.fixture(autouse=True)
def _products_by_torch() -> Iterator[None]:
    """Turn oneDNN off, which may use instructions that a virtual machine lacks."""
    with torch.backends.mkldnn.flags(enabled=False):
        yield


def autocast() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16)


def drawn(module: torch.nn.Module) -> torch.Generator:
    """Draw all weights, and return the generator."""
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in module.parameters():
            weight.normal_(std=0.5, generator=draw)
    return draw


def check(loss: Loss, plain: Loss, leaves: Sequence[torch.Tensor]) -> None:
    """Assert that a loss under autocast, and its gradients, are those of the plain one."""
    with autocast():
        found = loss()
    expected = plain()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=UNIT, atol=UNIT)
    slopes, wanted = (torch.autograd.grad(value, leaves) for value in (found, expected))
    for one, two in zip(slopes, wanted, strict=True):
        assert one.dtype == torch.float32
        assert float((one - two).norm() / two.norm()) < 4 * UNIT


def cross_entropy(output: Output, features: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean of -ln p by the whole distribution, in double precision."""
    kept = targets != MASKED
    return F.nll_loss(output(features)[kept], targets[kept]).float()


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_output_layer_keeps_its_gradient(name: str) -> None:
    """An exact loss has the gradient of the mean of -ln p; a sampled one that without autocast."""
    output = OUTPUTS[name]()
    draw = drawn(output)
    features = torch.randn(N, FEATURES, generator=draw)
    if name.startswith("direct"):
        features[:, -2:] = torch.randint(V, (N, 2), generator=draw).float()
    features.requires_grad_()
    targets = torch.randint(V, (N,), generator=draw)
    targets[3] = MASKED

    def loss() -> torch.Tensor:
        if isinstance(output, SampledSoftmax | NoiseContrastive | BlackOut):
            output.draw.manual_seed(1)
        return output.loss(features, targets)

    def plain() -> torch.Tensor:
        return cross_entropy(output, features, targets) if output.exact else loss()

    check(loss, plain, [features, *output.parameters()])


def test_products_are_in_bfloat16_and_sums_of_exponentials_are_not() -> None:
    """A loss of a thousand equal words is ln 1000; the eight bits of bfloat16 would miss it."""
    output = Softmax(features=1, vocabulary=1000)
    with torch.no_grad():
        output.weight.fill_(1 + UNIT / 2)  # one in bfloat16
        output.bias.zero_()
        output.weight[0] = 0
    features = torch.ones(1, 1, requires_grad=True)
    with autocast():
        loss = output.loss(features, torch.tensor([0]))
    assert loss.item() == pytest.approx(torch.tensor([0.0] + [1.0] * 999).logsumexp(0).item())


@pytest.mark.parametrize("cell", ["elman", "relu", "gru"])
def test_a_recurrence_keeps_its_gradient(cell: Literal["elman", "relu", "gru"]) -> None:
    """The error over many steps is that of the products with the input."""
    layer = RecurrentLayer(LayerSettings(cell=cell, hidden=5), inputs=6)
    draw = drawn(layer)
    words = torch.randn(20, 3, 6, generator=draw, requires_grad=True)
    upstream = torch.randn(20, 3, 5, generator=draw)

    def loss() -> torch.Tensor:
        states, _ = layer(words, None)
        total: torch.Tensor = (states * upstream).mean()
        return total

    leaves = [words, *(weight for weight in layer.parameters() if weight.requires_grad)]
    check(loss, loss, leaves)
