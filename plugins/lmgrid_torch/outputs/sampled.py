"""Output layers trained on a few sampled words; they score over all words by the full softmax."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from lmgrid_torch.generator import WithGenerator
from lmgrid_torch.outputs.slices import Slices
from lmgrid_torch.outputs.softmax import MASKED, Softmax


@dataclass(frozen=True, kw_only=True)
class Noise:
    """How words are drawn: k in each step, with replacement, from q(w) ∝ unigram(w)^power."""

    samples: int  # k
    power: float  # 1 is the unigram distribution, 0 the uniform one
    seed: int


@dataclass(frozen=True, kw_only=True)
class SampledLogits:
    """The logits s = w · h + b of N targets, and of the k sampled words for each target."""

    target: Tensor  # (N,)
    sampled: Tensor  # (N, k)
    target_noise: Tensor  # ln q of the targets, (N,)
    noise: Tensor  # ln q of the sampled words, (k,)
    hit: Tensor  # whether the sampled word is the target, (N, k)


class Sampled(WithGenerator, Softmax):
    """A softmax trained on the targets and k sampled words, the same words for a whole batch.

    Words are drawn on the CPU, so that every device uses the same words, from the layer's own
    generator ``draw``, which is saved with the state of training.
    """

    exact: bool = False  # the loss is not the mean of -ln p
    log_noise: Tensor  # ln q of each word, (V,)

    def __init__(self, *, features: int, vocabulary: int, noise: Noise) -> None:
        super().__init__(features=features, vocabulary=vocabulary)
        self.samples, self.power = noise.samples, noise.power
        self.draw = torch.Generator().manual_seed(noise.seed)
        self.register_buffer("log_noise", torch.empty(vocabulary), persistent=False)
        self._set_noise(torch.zeros(vocabulary))

    def start_from(self, log_unigram: Tensor) -> None:
        """Set the bias, and the distribution from which words are drawn."""
        super().start_from(log_unigram)
        self._set_noise(log_unigram)

    def _set_noise(self, log_unigram: Tensor) -> None:
        """Set q from ln p(w), (V,), in double precision on the CPU."""
        log_noise = torch.log_softmax(self.power * log_unigram.double().cpu(), 0)
        self.log_noise.copy_(log_noise)
        self.cumulative = log_noise.exp().cumsum(0)  # (V,), on the CPU

    def sample(self) -> Tensor:
        """Draw and return k words, (k,)."""
        chances = torch.rand(self.samples, generator=self.draw, dtype=torch.float64)
        words = torch.searchsorted(self.cumulative, chances * self.cumulative[-1], right=True)
        return words.clamp(max=self.vocabulary - 1).to(self.weight.device)

    def loss(self, features: Tensor, targets: Tensor, added: Slices | None = None) -> Tensor:
        """Return the mean of the loss of each target that is not masked."""
        words, kept, places = self.sample(), targets != MASKED, targets.clamp(min=0)
        count, every = len(targets), torch.cat((places, words))
        weight, bias = self.weight.index_select(0, every), self.bias.index_select(0, every)
        target = (features * weight[:count]).sum(1) + bias[:count]
        sampled = F.linear(features, weight[count:], bias[count:])
        if added is not None:
            target = target + added.at(places[:, None, None])[:, 0]
            sampled = sampled + added.at(words)
        noise = self.log_noise
        logits = SampledLogits(
            target=target,
            sampled=sampled,
            target_noise=noise[places],
            noise=noise[words],
            hit=words == places[:, None],
        )
        losses = self.losses(logits)
        return losses.dot(kept.to(losses.dtype) / kept.sum())

    @abstractmethod
    def losses(self, logits: SampledLogits) -> Tensor:
        """Return the loss of each target, (N,)."""


class SampledSoftmax(Sampled):
    """The softmax with a sampled normaliser (Bengio and Senécal 2008; Jean et al. 2015).

    loss(t) = -ln (exp(s_t) / (exp(s_t) + Σ_{j ≠ t} exp(s_j - ln(k q_j)))), over the k sampled
    words j. The expectation of that sum is Σ_{v ≠ t} exp(s_v), so the loss and its gradient tend to
    those of -ln p(t) as k grows.
    """

    def losses(self, logits: SampledLogits) -> Tensor:
        expected = logits.noise + math.log(self.samples)  # ln of the expected number of draws
        others = (logits.sampled - expected).masked_fill(logits.hit, -math.inf)
        return torch.cat((logits.target[:, None], others), 1).logsumexp(1) - logits.target


class NoiseContrastive(Sampled):
    """Noise-contrastive estimation (Gutmann and Hyvärinen 2010; Mnih and Teh 2012).

    loss(t) = -ln σ(s_t - ln Z - ln(k q_t)) - Σ_j ln σ(-(s_j - ln Z - ln(k q_j))), over the k
    sampled words j: a logistic regression that separates targets from noise, with scores assumed to
    be normalised by the constant Z. If Z is the sum of exp(s_v), the gradient tends to that of
    -ln p(t) as k grows.
    """

    def __init__(
        self, *, features: int, vocabulary: int, noise: Noise, log_normaliser: float
    ) -> None:
        super().__init__(features=features, vocabulary=vocabulary, noise=noise)
        self.log_normaliser = log_normaliser

    def losses(self, logits: SampledLogits) -> Tensor:
        constant = self.log_normaliser + math.log(self.samples)
        true = F.logsigmoid(logits.target - constant - logits.target_noise)
        false = F.logsigmoid(constant + logits.noise - logits.sampled)
        return -true - false.sum(1)


class BlackOut(Sampled):
    """BlackOut (Ji, Vishwanathan, Satish, Anderson and Dubey 2016, equations 5 to 7).

    loss(t) = -ln p̃(t) - Σ_j ln(1 - p̃(j)), over the k sampled words j, where p̃ is the softmax over
    t and them, weighted by 1 / q: p̃(i) = exp(s_i) / q_i / (exp(s_t) / q_t + Σ_j exp(s_j) / q_j).
    A sampled word that equals the target is kept, since the normaliser would lack it otherwise. The
    gradient tends to that of -ln p(t) as k grows.
    """

    LARGEST: ClassVar[float] = 1 - 1e-6  # of p̃(j), so that ln(1 - p̃(j)) is finite

    def losses(self, logits: SampledLogits) -> Tensor:
        target = logits.target - logits.target_noise
        others = logits.sampled - logits.noise
        log_shares = torch.log_softmax(torch.cat((target[:, None], others), 1), 1)
        false = log_shares[:, 1:].exp().clamp(max=self.LARGEST)
        return -log_shares[:, 0] - torch.log1p(-false).sum(1)
