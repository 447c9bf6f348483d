"""``lmgrid generate``: sample text from a stored model."""

from __future__ import annotations

import math
from pathlib import Path

import click

from lmgrid.commands.options import results_option
from lmgrid.commands.output import say
from lmgrid.commands.stored_model import load


def _finite(context: click.Context, parameter: click.Parameter, value: float) -> float:
    if not math.isfinite(value):
        raise click.BadParameter(f"{value} is not a finite number")
    return value


@click.command()
@click.argument("record")
@results_option("The results folder of RECORD; by default every folder of results/runs.")
@click.option(
    "--prompt",
    metavar="TEXT",
    default="",
    help="The text to continue; by default the start of a sentence.",
)
@click.option(
    "--length",
    type=click.IntRange(1, 100_000),
    metavar="N",
    default=100,
    show_default=True,
    help="How many tokens to sample.",
)
@click.option(
    "--temperature",
    type=click.FloatRange(0),
    metavar="T",
    default=1.0,
    show_default=True,
    callback=_finite,
    help="What the log probabilities are divided by; 0 takes the most probable token each time.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    metavar="N",
    default=0,
    show_default=True,
    help="The seed of sampling.",
)
def generate(
    *,
    record: str,
    results: Path | None,
    prompt: str,
    length: int,
    temperature: float,
    seed: int,
) -> None:
    """Sample text from a stored model.

    RECORD is the file of a record, or the beginning of its address. lmgrid plan shows the
    addresses of a grid.

    \b
    Examples:
      lmgrid generate 3f9a --length 50 --prompt "In the beginning"
      lmgrid generate results/runs/my/records/3f9a.json --temperature 0
    """
    from lmgrid.cell.inference import Sampling, sample

    stored = load(record, results)
    start = stored.vocabulary.encode(prompt)
    drawn = sample(stored, start, Sampling(length=length, temperature=temperature, seed=seed))
    say(stored.vocabulary.decode([*start, *drawn]))
