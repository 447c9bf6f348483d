"""Models pass the contract tests with every output layer, and resume bit for bit."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from lmgrid.spec import Context, Recipe
from lmgrid.testing import LanguageModelContract, sample_tokens, sample_vocabulary
from lmgrid_rnn.parts import RnnPart
from lmgrid_torch.optimizers.parts import AdamPart

pytest.importorskip("torch", reason="needs the extra lmgrid[torch]")

import torch

from lmgrid_torch.model import NeuralModel

SMALL = RnnPart(embedding=8, hidden=8, batch=7, steps=10, samples=10, cutoffs=(5, 100))


class TestDirectAdaptive(LanguageModelContract):
    part = replace(SMALL, output="adaptive", direct_order=4, direct_size=2**12)
    optimizer = AdamPart(lr=0.01)


def context(size: int = 30) -> Context:
    counts = np.bincount(sample_tokens(size, seed=1), minlength=size)
    return Context(
        vocabulary=sample_vocabulary(size), counts=counts, seed=0, device="cpu", cache=Path()
    )


def made(part: RnnPart) -> NeuralModel:
    model = part.make(context())
    assert isinstance(model, NeuralModel)
    return model


@pytest.mark.parametrize(
    "part",
    [
        replace(SMALL, output="sampled"),
        replace(SMALL, output="nce"),
        replace(SMALL, output="blackout", direct_order=3, direct_size=100),
    ],
    ids=["sampled", "nce", "blackout-direct"],
)
def test_goes_on_as_if_it_had_never_stopped(part: RnnPart) -> None:
    """Samples and carried words are part of the state: the final weights are bit-equal."""
    train = sample_tokens(30, seed=1, count=600)
    recipe = Recipe(AdamPart().make(context()), (), seed=0, budget=None, point_interval=150)
    whole, first, second = made(part), made(part), made(part)
    list(islice(whole.fit(train, recipe), 6))
    list(islice(first.fit(train, recipe), 2))
    again = replace(recipe, resume=first.state())
    list(islice(second.fit(train, again), 5))  # where it stands, and four more
    weights, same = whole.network.state_dict(), second.network.state_dict()
    assert all(torch.equal(weights[name], same[name]) for name in weights)


def test_n_gram_features_learn_what_the_network_cannot() -> None:
    """With one hidden unit, trigram weights lower the loss by far."""
    train = sample_tokens(30, seed=1)
    small = replace(SMALL, embedding=1, hidden=1)
    losses = []
    optimizer = AdamPart(lr=0.01).make(context())
    recipe = Recipe(optimizer, (), seed=0, budget=None, point_interval=10**9)
    for part in (small, replace(small, direct_order=3, direct_size=2**16)):
        model = made(part)
        list(islice(model.fit(train, recipe), 4))
        losses.append(-model.score(train).mean())
    assert losses[1] < losses[0] - 0.3


def test_direct_order_one_is_refused() -> None:
    """Order 1 would be the bias; the message says so."""
    with pytest.raises(ValueError, match="output bias"):
        replace(SMALL, direct_order=1)
