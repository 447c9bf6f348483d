"""Measures the speed of training a recurrent model, as ratios to a plain PyTorch loop.

    python -m lmgrid_benchmarks.neural_speed [FOLDER]    also writes FOLDER/neural-speed.{md,csv}

The plain loop is that of PyTorch's word_language_model example: embedding, two layers of nn.LSTM,
linear, log-softmax, NLL, clipping, and the update w ← w - lr · g, one weight matrix at a time. A
second plain loop uses torch.optim.Adam with its defaults. The rows of lmgrid train the model
``rnn`` with lmgrid's own loop, also with clipping.

Times are CPU seconds of this process, on one thread. Every row runs once in each round; the figures
are medians over the rounds, and ratios are taken within a round. The words are drawn from
p(w) ∝ 1 / rank (Zipf's law).

The last line is the cost of lmgrid's loop (schedule, hooks of regularizers, points, the copy of the
weights at each point): the loop without a regularizer against forward, backward and step alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from lmgrid.report.layout import Table
from lmgrid.report.render import to_markdown
from lmgrid.spec import Context, Optimizer, Recipe, Regularizer, Tokens
from lmgrid.vocabulary import Vocabulary
from lmgrid.zipf import zipf_ranks
from lmgrid_rnn.parts import RnnPart
from lmgrid_torch.model import NeuralModel
from lmgrid_torch.optimizers.parts import AdamPart, SgdPart
from lmgrid_torch.regularizers.parts import ClipPart
from lmgrid_torch.training.trainer import as_tensor

CLIP, VALID_NATS = 0.25, 9.0


@dataclass(frozen=True)
class Setup:
    """The sizes of the model, and how many steps a round has."""

    cell: str = "lstm"
    layers: int = 2
    hidden: int = 200
    vocabulary: int = 10_000
    batch: int = 20
    steps: int = 35
    chunks: int = 10  # optimizer steps in a round
    rounds: int = 7

    @property
    def tokens(self) -> int:
        """Training tokens in a round."""
        return self.batch * self.steps * self.chunks


def main(setup: Setup, folder: Path | None) -> None:
    """Print the table, and write it to a folder if one is given."""
    torch.set_num_threads(1)
    rows = measure(setup)
    overhead = loop_overhead(setup)
    shown = rows.to_string(index=False, float_format="%.2f")
    print(shown, f"\n\nlmgrid's loop over the bare steps: {overhead:+.1%}")
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        rows.to_csv(folder / "neural-speed.csv", index=False, float_format="%.4g")
        note = f"The loop's own cost over the bare steps: {overhead:+.1%}."
        text = to_markdown(as_table(rows, note), heading=False)
        (folder / "neural-speed.md").write_text(text, encoding="utf-8")


def as_table(rows: pd.DataFrame, note: str) -> Table:
    """Return the measured rows as a table, with a note below it."""
    return Table(
        name="neural-speed",
        title="",
        header=tuple(rows.columns),
        rows=tuple(
            tuple(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row)
            for row in rows.itertuples(index=False)
        ),
        numeric_columns=rows.shape[1] - 1,
        notes=(note,),
    )


def measure(setup: Setup) -> pd.DataFrame:
    """Return a row for each loop: its tokens per CPU second, and ratios to the plain loops."""
    train = drawn(setup)
    ways: dict[str, Iterator[None]] = {
        "plain loop, SGD": plain(setup, train, PlainSgd),
        "plain loop, Adam": plain(setup, train, torch.optim.Adam),
        **{
            f"lmgrid {output}, {name}": ours(setup, train, part, output)
            for output in ("full", "adaptive", "sampled", "nce", "blackout")
            for name, part in (("SGD", SgdPart(lr=0.1)), ("Adam", AdamPart(lr=0.001)))
        },
    }
    seconds = spent(ways, setup.rounds)
    rates = setup.tokens / seconds.median()
    ratios = {
        f"x {name}": (1 / seconds).mul(seconds[way], axis=0).median().to_numpy()
        for name, way in (("plain, SGD", "plain loop, SGD"), ("plain, Adam", "plain loop, Adam"))
    }
    rounded = rates.round().astype(int).to_numpy()
    return pd.DataFrame({"training": seconds.columns, "tokens/s": rounded, **ratios})


def loop_overhead(setup: Setup) -> float:
    """Return the cost that lmgrid's loop adds, as a share of the cost of the steps alone."""
    train, adam = drawn(setup), AdamPart(lr=0.001)
    ways = {"loop": ours(setup, train, adam, clip=False), "bare": bare(setup, train, adam)}
    seconds = spent(ways, 2 * setup.rounds)
    return float((seconds["loop"] / seconds["bare"]).median()) - 1


def spent(ways: dict[str, Iterator[None]], rounds: int) -> pd.DataFrame:
    """Return the CPU seconds of one step of each iterator, a row for each round but the first."""
    rows: list[dict[str, float]] = []
    for _ in range(rounds + 1):
        rows.append({})
        for name, way in ways.items():
            start = process_time()
            next(way)
            rows[-1][name] = process_time() - start
    return pd.DataFrame(rows[1:])


def drawn(setup: Setup) -> Tokens:
    """Return the ids of a text of one round, drawn by Zipf's law, shape (tokens,)."""
    ranks = zipf_ranks(np.random.default_rng(0), types=setup.vocabulary, size=setup.tokens)
    return ranks.astype(np.int32)


# ---------------------------------------------------------------- the plain loop


class Plain(nn.Module):
    """The model of the example: embedding, recurrent layers, linear, log-softmax."""

    def __init__(self, setup: Setup) -> None:
        super().__init__()
        recurrent = nn.LSTM if setup.cell == "lstm" else nn.RNN
        self.embedding = nn.Embedding(setup.vocabulary, setup.hidden)
        self.recurrent = recurrent(setup.hidden, setup.hidden, setup.layers)
        self.linear = nn.Linear(setup.hidden, setup.vocabulary)

    def forward(self, words: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Return ln p, shape (T B, V), and the next state; ``words`` has shape (T, B)."""
        h, state = self.recurrent(self.embedding(words), state)
        logits = self.linear(h).flatten(0, 1)
        return nn.functional.log_softmax(logits, dim=1), state


class PlainSgd:
    """Gradient descent without torch.optim, as in the example: w ← w - lr · g."""

    def __init__(self, weights: Iterator[nn.Parameter]) -> None:
        self.weights = list(weights)

    @torch.no_grad()
    def step(self) -> None:
        for weight in self.weights:
            if weight.grad is not None:
                weight.add_(weight.grad, alpha=-0.1)


def plain(setup: Setup, train: Tokens, optimizer: Callable[..., Any]) -> Iterator[None]:
    """Train the plain model, yielding after each pass over the text; never ends."""
    torch.manual_seed(0)
    model = Plain(setup)
    step = optimizer(model.parameters()).step
    text = torch.from_numpy(train.astype(np.int64)).view(setup.batch, -1).t().contiguous()
    inputs = torch.cat((text.new_ones(1, setup.batch), text[:-1]))
    while True:
        state = None
        chunks = (torch.split(part, setup.steps) for part in (inputs, text))
        for words, targets in zip(*chunks, strict=True):
            model.zero_grad()
            scores, state = model(words, state)
            loss = nn.functional.nll_loss(scores, targets.flatten())
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            step()
            state = detached(state)
        yield


def detached(state: Any) -> Any:
    """Return a state, or each tensor of a tuple, detached from the graph of gradients."""
    return tuple(map(detached, state)) if isinstance(state, tuple) else state.detach()


# ---------------------------------------------------------------- lmgrid


def context(setup: Setup, train: Tokens) -> Context:
    """Return what lmgrid's parts are made from."""
    words = ("<unk>", "<eos>", *(f"w{i}" for i in range(2, setup.vocabulary)))
    counts = np.bincount(train, minlength=setup.vocabulary)
    return Context(vocabulary=Vocabulary(words), counts=counts, seed=0, device="cpu", cache=Path())


def model(setup: Setup, train: Tokens, output: str) -> NeuralModel:
    """Return lmgrid's model ``rnn`` with these sizes."""
    sizes = {"cell": setup.cell, "layers": setup.layers, "output": output}
    sizes |= {"embedding": setup.hidden, "hidden": setup.hidden}
    part = RnnPart(**sizes, batch=setup.batch, steps=setup.steps)  # type: ignore[arg-type]
    made = part.make(context(setup, train))
    assert isinstance(made, NeuralModel)
    return made


def ours(
    setup: Setup,
    train: Tokens,
    part: AdamPart | SgdPart,
    output: str = "full",
    *,
    clip: bool = True,
) -> Iterator[None]:
    """Train with lmgrid's loop, yielding at the point after each pass over the text."""
    made = context(setup, train)
    regularizers: tuple[Regularizer, ...] = (ClipPart(norm=CLIP).make(made),) if clip else ()
    recipe = Recipe(part.make(made), regularizers, seed=0, budget=None, point_interval=setup.tokens)
    training = model(setup, train, output).fit(train, recipe)
    next(training)
    yield
    while True:
        training.send(VALID_NATS)
        yield


def bare(setup: Setup, train: Tokens, part: AdamPart) -> Iterator[None]:
    """Train the same network with forward, backward and step alone."""
    network = model(setup, train, "full").network.train()
    optimizer: Optimizer = part.make(context(setup, train))
    stepper = optimizer(list(network.parameters()))
    text = as_tensor(train, network)
    while True:
        state = None
        for batch in network.epoch(text, torch.Generator()):
            features, state = network(batch.inputs, state)
            loss = network.output.loss(features, batch.targets)
            stepper.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            stepper.step()
        yield


if __name__ == "__main__":
    main(Setup(), Path(sys.argv[1]) if len(sys.argv) > 1 else None)
