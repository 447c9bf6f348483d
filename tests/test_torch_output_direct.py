"""Maximum-entropy n-gram features: by hand, their gradient, and with every output layer."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="needs the extra lmgrid[torch]")

import torch
from torch import nn

from lmgrid_torch.outputs.adaptive import Adaptive
from lmgrid_torch.outputs.ngram_features import NgramOutput, with_history
from lmgrid_torch.outputs.sampled import BlackOut, Noise, NoiseContrastive, SampledSoftmax
from lmgrid_torch.outputs.slices import Slices
from lmgrid_torch.outputs.softmax import MASKED, Softmax

V, F, ORDER, SIZE = 9, 3, 3, 50
TARGETS = torch.tensor([0, 8, MASKED, 4])
WORDS = torch.tensor([[1, 1], [5, 1], [7, 5], [5, 1]])  # the latest first
KINDS = ("full", "adaptive", "sampled", "nce", "blackout")


def inside(kind: str, samples: int = 20) -> Softmax | Adaptive:
    noise = Noise(samples=samples, power=1.0, seed=3)
    if kind == "adaptive":
        return Adaptive(features=F, vocabulary=V, cutoffs=(3, 6), div_value=2.0)
    if kind == "nce":
        return NoiseContrastive(features=F, vocabulary=V, noise=noise, log_normaliser=0.0)
    if kind == "full":
        return Softmax(features=F, vocabulary=V)
    sampled = SampledSoftmax if kind == "sampled" else BlackOut
    return sampled(features=F, vocabulary=V, noise=noise)


def layer(kind: str, samples: int = 20) -> NgramOutput:
    """Return a layer with drawn weights, in double precision."""
    made = NgramOutput(inside(kind, samples), order=ORDER, size=SIZE)
    draw = torch.Generator().manual_seed(0)
    for weight in made.parameters():
        nn.init.normal_(weight, generator=draw)
    return made.double()


def rows() -> torch.Tensor:
    draw = torch.Generator().manual_seed(9)
    return torch.cat((torch.randn(4, F, generator=draw), WORDS), 1).double()


def test_a_case_by_hand() -> None:
    """Row 0 adds θ[1 + v] and θ[4 + v] to b_v, row 1 adds θ[0 + v] and θ[0 + v]."""
    weights = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
    slices = Slices(weights, torch.tensor([[1, 4], [0, 0]]))
    assert slices.part(2).tolist() == [[2 + 16, 4 + 32], [2, 4]]
    assert slices.after(1).rows(torch.tensor([1])).part(3).tolist() == [[4, 8, 16]]
    assert slices.at(torch.tensor([1, 0])).tolist() == [[36, 18], [4, 2]]
    assert slices.at(torch.tensor([[[1]], [[0]]])).tolist() == [[36], [2]]


def test_the_logits_are_those_of_the_paper() -> None:
    """W h + b + Σ_n θ[hash(w_1 … w_n) + v], for every word v."""
    made, features = layer("full"), rows()
    found, softmax, starts = made(features), made.inside, made.starts(WORDS)
    assert isinstance(softmax, Softmax)
    for n in range(4):
        logits = softmax.weight @ features[n, :F] + softmax.bias
        for start in starts[n].tolist():
            logits = logits + torch.stack([made.weights[start + v] for v in range(V)])
        torch.testing.assert_close(found[n], torch.log_softmax(logits, 0))


def test_a_hash_is_that_of_all_words_of_a_history() -> None:
    """Equal histories share an index; other words, another order or length do not."""
    softmax = Softmax(features=F, vocabulary=V)
    made = NgramOutput(softmax, order=4, size=2**22)  # so large that no two are likely to collide
    histories = torch.tensor([[2, 3, 4], [2, 3, 5], [3, 2, 4], [2, 3, 4]])
    one, two, three, again = made.starts(histories).tolist()
    assert one == again
    assert one[:2] == two[:2]
    assert len({*one, *two, *three}) == 7
    assert all(0 <= place <= 2**22 - V for place in (*one, *two, *three))


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_the_derivative(kind: str) -> None:
    """In the features and each weight, by finite differences, with the sample fixed."""
    made, words = layer(kind), rows()[:, F:]
    names, weights = zip(*made.named_parameters(prefix="layer"), strict=True)

    def loss(features: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        if (draw := getattr(made.inside, "draw", None)) is not None:
            draw.manual_seed(1)
        call = dict(zip(names, values, strict=True))
        whole = torch.cat((features, words), 1)
        found: torch.Tensor = torch.func.functional_call(Loss(made), call, (whole,))
        return found

    features = rows()[:, :F].requires_grad_()
    assert torch.autograd.gradcheck(loss, (features, *weights))


class Loss(nn.Module):
    """A layer's loss as a module."""

    def __init__(self, layer: NgramOutput) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.layer.loss(features, TARGETS)


@pytest.mark.parametrize("kind", KINDS)
def test_all_ways_to_a_probability_agree(kind: str) -> None:
    """Score and distribution agree for every layer inside, and the loss where it is exact."""
    made, targets = layer(kind), torch.tensor([0, 8, 5, 4])
    with torch.no_grad():
        whole, scores = made(rows()), made.score(rows(), targets)
        torch.testing.assert_close(whole.exp().sum(1), torch.ones(4).double())
        torch.testing.assert_close(whole[torch.arange(4), targets], scores)
        assert made.exact == (kind in ("full", "adaptive"))
        if made.exact:
            torch.testing.assert_close(made.loss(rows(), targets), -scores.mean())


def test_the_sampled_loss_tends_to_the_full_one() -> None:
    """N-gram weights are added to the logits of targets and samples."""
    made = layer("sampled", samples=100_000)
    kept = TARGETS != MASKED
    with torch.no_grad():
        expected = -made(rows())[kept, TARGETS[kept]].mean().item()
        assert made.loss(rows(), TARGETS).item() == pytest.approx(expected, abs=0.02)


def test_too_few_weights_are_refused() -> None:
    """A history needs as many as there are logits; the message says how many will do."""
    with pytest.raises(ValueError, match="direct_size = 16 or more"):
        NgramOutput(Softmax(features=F, vocabulary=V), order=ORDER, size=V - 1)


def test_words_follow_features_the_latest_first() -> None:
    """Two streams of three steps; the words before the chunk come from the one before it."""
    features = torch.zeros(6, 1)
    inputs = torch.tensor([[2, 20], [3, 30], [4, 40]])
    whole, before = with_history(features, inputs, torch.tensor([[0, 0], [1, 10]]))
    expected = [[2, 1, 0], [20, 10, 0], [3, 2, 1], [30, 20, 10], [4, 3, 2], [40, 30, 20]]
    assert whole[:, 1:].tolist() == expected
    assert before.tolist() == [[3, 30], [4, 40]]


def test_bigrams_need_no_words_of_the_chunk_before() -> None:
    """With a history of one word, the state is empty."""
    inputs = torch.tensor([[2], [3]])
    whole, before = with_history(torch.zeros(2, 1), inputs, torch.empty(0, 1, dtype=torch.long))
    assert whole[:, 1:].tolist() == [[2], [3]]
    assert before.shape == (0, 1)
