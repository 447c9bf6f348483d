"""Turns records into pandas data frames: one row for each record, point or reading.

Tables are made from these frames alone; no model is needed.
"""

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
NESTED_COLUMNS = ["test_blocks", "curve"]  # hold several numbers in each row
# The columns that say which record a row of ``points`` or ``readings`` belongs to.
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
    """Return one row for each outcome, sorted by address, with the columns ``COLUMNS``.

    - ``corpus``, ``model``, … are labels, ``name[option=value,…]``, with the options that differ
      from their defaults.
    - Perplexities are infinite where a token had probability zero. An unnormalised model has
      ``pseudo_perplexity`` instead.
    - Columns that end in ``_seconds`` hold wall time in seconds, except ``train_cpu_seconds``.
    - ``bytes`` and ``peak_bytes`` are the sizes of the model and of the memory in training.
    - ``text`` is the digest of the corpus, ``version`` that of the corpus and of the code.
    - ``libraries`` are those that the cell's code imports, with their versions.
    - ``test_blocks`` holds the test loss of each block of the test text, in nats per token;
      ``curve`` holds a pair for each point: seconds of training, and validation loss in nats.

    >>> frame([]).columns[:3].tolist()
    ['address', 'status', 'corpus']
    """
    rows = sorted((_row(outcome) for outcome in outcomes), key=lambda row: str(row["address"]))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def points(outcomes: Iterable[Outcome]) -> pd.DataFrame:
    """Return one row for each point of each record's learning curve.

    ``tokens``, ``seconds`` and ``cpu_seconds`` are what training had used up to the point;
    ``train_nats`` and ``valid_nats`` are losses in nats per token, ``penalty`` is what regularizers
    added to the training loss. ``events`` counts events, such as ``rollback=1``.
    """
    rows = [
        {
            **_record_columns(record),
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
    columns = ("tokens", "seconds", "cpu_seconds", "train_nats", "penalty", "valid_nats", "events")
    return pd.DataFrame(rows, columns=[*RECORD_COLUMNS, *columns])


def readings(outcomes: Iterable[Outcome]) -> pd.DataFrame:
    """Return one row for each figure that a reporter measured.

    ``tokens`` says at which point, ``name`` and ``at`` what was measured (``at`` is a lag or a
    layer, say), and ``value`` is the figure; it is missing where it was not finite.
    """
    rows = [
        {
            **_record_columns(record),
            "tokens": point.tokens,
            "name": r.name,
            "at": r.at,
            "value": r.value,
        }
        for record, point in _points(outcomes)
        for r in point.readings
    ]
    return pd.DataFrame(rows, columns=[*RECORD_COLUMNS, "tokens", "name", "at", "value"])


def _points(outcomes: Iterable[Outcome]) -> Iterator[tuple[Record, Point]]:
    records = [outcome for outcome in outcomes if isinstance(outcome, Record)]
    for record in sorted(records, key=lambda r: (r.cell.label, r.inputs.address)):
        yield from ((record, point) for point in record.points)


def _record_columns(record: Record) -> dict[str, Any]:
    row = {"address": record.inputs.address, **_cell_columns(record.inputs)}
    return {key: row[key] for key in RECORD_COLUMNS}


def rows_to_dicts(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame as dictionaries by column; missing values are None.

    >>> rows_to_dicts(pd.DataFrame({"model": ["rnn", None], "seed": [1.0, None]}))
    [{'model': 'rnn', 'seed': 1.0}, {'model': None, 'seed': None}]
    """
    plain = rows.astype(object).where(rows.notna(), None)
    return [{str(key): value for key, value in row.items()} for row in plain.to_dict("records")]


@singledispatch
def _row(outcome: Outcome) -> dict[str, Any]:
    raise TypeError(f"{type(outcome).__name__} is not an outcome")


@_row.register
def _(outcome: Record) -> dict[str, Any]:
    return {
        **_common_columns(outcome),
        "status": "done",
        "normalised": outcome.normalised,
        **_scores(outcome),
        **_training_columns(outcome),
        "parameters": outcome.parameters,
        "bytes": outcome.bytes,
    }


@_row.register
def _(outcome: KernelRecord) -> dict[str, Any]:
    row = {
        **_common_columns(outcome),
        "status": "done" if outcome.equal else "unequal",
        "equal": outcome.equal,
        "difference": outcome.difference,
    }
    if outcome.equal:
        loop = statistics.median(outcome.loop_seconds)
        vector = statistics.median(outcome.vector_seconds)
        row |= {"loop_seconds": loop, "vector_seconds": vector, "speedup": loop / vector}
    else:
        found = math.inf if outcome.difference is None else outcome.difference
        allowed = outcome.tolerance
        row["message"] = f"the two forms differ by {found:g}, {allowed:g} is allowed"
    return row


@_row.register
def _(outcome: Failure) -> dict[str, Any]:
    error, message = outcome.error, outcome.message
    return {
        **_common_columns(outcome),
        "status": outcome.status,
        "error": error,
        "message": message,
    }


def _common_columns(outcome: Outcome) -> dict[str, Any]:
    """Return the columns that records and failures, of models and of kernels, all have."""
    provenance = outcome.provenance
    return {
        "address": outcome.inputs.address,
        **_cell_columns(outcome.inputs),
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
    """Return the libraries that the cell's code imports, with versions.

    lmgrid is left out: the address covers its code.
    """
    found = provenance.environment.libraries
    return ", ".join(f"{name} {version}" for name, version in found if name != "lmgrid")


def _shared(provenance: Provenance) -> bool:
    """Return whether other work used the machine while times were measured.

    Where the use by other processes was not measured, the load average decides.
    """
    not_measured = provenance.others is None
    busy = provenance.load >= provenance.environment.cores
    return provenance.jobs > 1 or provenance.contended or (not_measured and busy)


def _cell_columns(inputs: Inputs) -> dict[str, Any]:
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


def _scores(record: Record) -> dict[str, Any]:
    test = record.test
    scores = {
        "unknown_rate": test.unknown_rate,
        "lossy": _lossy(record.cell.corpus),
        "zero_probability_tokens": test.zero_probability_tokens,
        "test_tokens": test.tokens,
        "test_blocks": test.blocks,
    }
    if not record.normalised:
        return scores | {"pseudo_perplexity": test.perplexity}
    return scores | {
        "test_perplexity": test.perplexity,
        "valid_perplexity": record.valid.perplexity,
        "test_perplexity_known": test.known_perplexity,
        "bits_per_character": test.bits_per_character,
        "bits_per_byte": test.bits_per_byte,
        "curve": tuple((point.seconds, point.nats) for point in record.points),
    }


def _lossy(corpus: Part) -> bool:
    """Return whether the tokens do not determine the text: case or spacing is lost."""
    options = dict(corpus.options)
    return bool(options.get("lowercase") or options.get("pretokenize"))


def _training_columns(record: Record) -> dict[str, Any]:
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
