"""``lmgrid generate``: text sampled from a stored model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

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
@results_option("The folder that holds RECORD.")
@click.option("--length", type=click.IntRange(1, 100_000), default=100, show_default=True)
@click.option(
    "--temperature", type=click.FloatRange(0), default=1.0, show_default=True, callback=_finite
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--prompt", default="", help="Text to go on from; by default a sentence start.")
def generate(record: str, results: Path | None, prompt: str, **sampling: Any) -> None:
    """Sample text from the stored model of RECORD.

    RECORD is the file of a record, or the beginning of its address, looked for in --results or
    in every folder of results/runs. Temperature 0 takes the most probable token each time.
    """
    from lmgrid.cell.inference import Sampling, sample

    stored = load(record, results)
    start = stored.vocabulary.encode(prompt)
    drawn = sample(stored, start, Sampling(**sampling))
    say(stored.vocabulary.decode([*start, *drawn]))
