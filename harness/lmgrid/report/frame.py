"""Records to one frame, a row each; tables are made from it alone, without training again."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator
from functools import singledispatch
from typing import Any

import pandas as pd

from lmgrid.grid import Part, budget_label
from lmgrid.records.record import Failure, Inputs, KernelRecord, Outcome, Provenance, Record
from lmgrid.result import Point

COLUMNS = (
    "address",
    "status",
    "corpus",
    "model",
    "optimizer",
    "regularizers",
    "reporters",
    "kernel",
    "seed",
    "device",
    "threads",
    "budget",
    "normalised",
    "test_perplexity",
    "valid_perplexity",
    "test_perplexity_known",
    "pseudo_perplexity",
    "bits_per_character",
    "bits_per_byte",
    "unknown_rate",
    "lossy",
    "zero_probability_tokens",
    "test_tokens",
    "train_tokens",
    "kept_tokens",
    "train_seconds",
    "train_cpu_seconds",
    "compile_seconds",
    "train_tokens_per_second",
    "score_tokens_per_second",
    "parameters",
    "bytes",
    "peak_bytes",
    "loop_seconds",
    "vector_seconds",
    "speedup",
    "equal",
    "difference",
    "machine",
    "jobs",
    "load",
    "others",
    "shared",
    "text",
    "version",
    "libraries",
    "started",
    "error",
    "message",
    "test_blocks",
    "curve",
)
NESTED = ["test_blocks", "curve"]  # columns that hold several numbers a row
# What says, in a row of less than a record, which record it is of.
RECORD_COLUMNS = (
    "address",
    "corpus",
    "model",
    "optimizer",
    "regularizers",
    "seed",
    "device",
    "budget",
)


def frame(outcomes: Iterable[Outcome]) -> pd.DataFrame:
    """Return a row for each outcome, sorted by address, with the columns ``COLUMNS``.

    Parts are written ``name[option=value,…]`` with what differs from the default. A perplexity
    is infinite where a token had probability zero, and missing for an unnormalised model, which
    has ``pseudo_perplexity`` instead. Seconds are of wall time. ``text`` is the digest of the
    corpus, ``version`` that of corpus and source, ``libraries`` are those that its code imports.
    """
    rows = sorted((_row(outcome) for outcome in outcomes), key=lambda row: str(row["address"]))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def points(outcomes: Iterable[Outcome]) -> pd.DataFrame:
    """Return a row for each point of each record: where training stood, and how well it did."""
    rows = [
        {
            **_who(record),
            "tokens": point.tokens,
            "seconds": point.seconds,
            "cpu_seconds": point.cpu_seconds,
            "train_nats": point.train_nats,
            "penalty": point.penalty,
            "valid_nats": point.valid_nats,
            "events": " ".join(f"{name}={count}" for name, count in point.events),
        }
        for record, point in _points(outcomes)
    ]
    heads = ("tokens", "seconds", "cpu_seconds", "train_nats", "penalty", "valid_nats", "events")
    return pd.DataFrame(rows, columns=[*RECORD_COLUMNS, *heads])


def readings(outcomes: Iterable[Outcome]) -> pd.DataFrame:
    """Return a row for each figure that a reporter read: at which point, of what, how much."""
    rows = [
        {**_who(record), "tokens": point.tokens, "name": r.name, "at": r.at, "value": r.value}
        for record, point in _points(outcomes)
        for r in point.readings
    ]
    return pd.DataFrame(rows, columns=[*RECORD_COLUMNS, "tokens", "name", "at", "value"])


def _points(outcomes: Iterable[Outcome]) -> Iterator[tuple[Record, Point]]:
    records = [outcome for outcome in outcomes if isinstance(outcome, Record)]
    for record in sorted(records, key=lambda r: (r.cell.label, r.inputs.address)):
        yield from ((record, point) for point in record.points)


def _who(record: Record) -> dict[str, Any]:
    row = {"address": record.inputs.address, **_cell(record.inputs)}
    return {key: row[key] for key in RECORD_COLUMNS}


def plain_rows(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a frame's rows as plain values, what is missing as None."""
    plain = rows.astype(object).where(rows.notna(), None)
    return [{str(key): value for key, value in row.items()} for row in plain.to_dict("records")]


@singledispatch
def _row(outcome: Outcome) -> dict[str, Any]:
    raise TypeError(f"{type(outcome).__name__} is no outcome")


@_row.register
def _(outcome: Record) -> dict[str, Any]:
    return {
        **_what(outcome),
        "status": "done",
        "normalised": outcome.normalised,
        **_figures(outcome),
        **_times(outcome),
        "parameters": outcome.parameters,
        "bytes": outcome.bytes,
    }


@_row.register
def _(outcome: KernelRecord) -> dict[str, Any]:
    row = {
        **_what(outcome),
        "status": "done" if outcome.equal else "unequal",
        "equal": outcome.equal,
        "difference": outcome.difference,
    }
    if outcome.equal:
        loop = statistics.median(outcome.loop_seconds)
        vector = statistics.median(outcome.vector_seconds)
        row |= {"loop_seconds": loop, "vector_seconds": vector, "speedup": loop / vector}
    else:
        gap = math.inf if outcome.difference is None else outcome.difference
        row["message"] = f"the twins differ by {gap:g}, over {outcome.tolerance:g}"
    return row


@_row.register
def _(outcome: Failure) -> dict[str, Any]:
    error, message = outcome.error, outcome.message
    return {**_what(outcome), "status": outcome.status, "error": error, "message": message}


def _what(outcome: Outcome) -> dict[str, Any]:
    provenance = outcome.provenance
    return {
        "address": outcome.inputs.address,
        **_cell(outcome.inputs),
        "machine": provenance.environment.machine,
        "jobs": provenance.jobs,
        "load": provenance.load,
        "others": provenance.others,
        "shared": _shared(provenance),
        "text": outcome.inputs.corpus,
        "version": outcome.inputs.version,
        "libraries": _libraries(provenance),
        "started": provenance.started,
    }


def _libraries(provenance: Provenance) -> str:
    """Return what the cell's code imports, with versions; lmgrid's own code has its digest."""
    found = provenance.environment.libraries
    return ", ".join(f"{name} {version}" for name, version in found if name != "lmgrid")


def _shared(provenance: Provenance) -> bool:
    """Whether a time was taken beside other work: cells of the run, or what else was seen."""
    unwatched = provenance.others is None
    busy = provenance.load >= provenance.environment.cores
    return provenance.jobs > 1 or provenance.contended or (unwatched and busy)


def _cell(inputs: Inputs) -> dict[str, Any]:
    if cell := inputs.cell:
        return {
            "corpus": cell.corpus.label,
            "model": cell.model.label,
            "optimizer": _labels((cell.optimizer,) if cell.optimizer else ()),
            "regularizers": _labels(cell.regularizers),
            "reporters": _labels(cell.reporters),
            "seed": cell.seed,
            "device": cell.device,
            "threads": cell.threads,
            "budget": budget_label(cell.budget) if cell.budget else "",
        }
    kernel = inputs.kernel
    assert kernel is not None
    return {"kernel": kernel.kernel.label, "device": kernel.device, "threads": kernel.threads}


def _labels(parts: Iterable[Part]) -> str:
    return " + ".join(part.label for part in parts)


def _figures(record: Record) -> dict[str, Any]:
    test = record.test
    figures = {
        "unknown_rate": test.unknown_rate,
        "lossy": _lossy(record.cell.corpus),
        "zero_probability_tokens": test.zero_probability_tokens,
        "test_tokens": test.tokens,
        "test_blocks": test.blocks,
    }
    if not record.normalised:
        return figures | {"pseudo_perplexity": test.perplexity}
    return figures | {
        "test_perplexity": test.perplexity,
        "valid_perplexity": record.valid.perplexity,
        "test_perplexity_known": test.known_perplexity,
        "bits_per_character": test.bits_per_character,
        "bits_per_byte": test.bits_per_byte,
        "curve": tuple((point.seconds, point.nats) for point in record.points),
    }


def _lossy(corpus: Part) -> bool:
    """Whether the tokens tell less than the text: case or spacing is lost."""
    options = dict(corpus.options)
    return bool(options.get("lowercase") or options.get("pretokenize"))


def _times(record: Record) -> dict[str, Any]:
    training = record.training
    return {
        "train_tokens": training.tokens,
        "kept_tokens": training.kept_tokens,
        "train_seconds": training.seconds,
        "train_cpu_seconds": training.cpu_seconds,
        "compile_seconds": training.compile_seconds,
        "train_tokens_per_second": _rate(training.tokens, training.seconds),
        "score_tokens_per_second": _rate(record.test.tokens, record.score_seconds),
        "peak_bytes": training.peak_bytes,
    }


def _rate(tokens: int, seconds: float) -> float:
    return tokens / seconds if seconds > 0 else math.nan
