"""Laws of the tables: they depend on records alone, rank fairly, and escape what is not theirs."""

from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lmgrid.grid import Cell, KernelCell, Part
from lmgrid.machine.environment import Environment
from lmgrid.printable import printable
from lmgrid.records.record import (
    Failure,
    Inputs,
    KernelRecord,
    Outcome,
    Provenance,
    Record,
    RecordError,
)
from lmgrid.records.recordfile import decode_outcome, encode_outcome
from lmgrid.report.comparison import newest_rows
from lmgrid.report.frame import COLUMNS, frame, rows_to_dicts
from lmgrid.report.layout import Table
from lmgrid.report.render import to_csv, to_latex, to_markdown, to_rich, write_tables
from lmgrid.report.tables import details, failures, overview, speedups, tables
from lmgrid.result import CorpusSize, Score, Training

HERE = Provenance(
    Environment("3.11", "Linux x86_64", "one processor", 2, ()), "2025-01-01T00:00:00+00:00", 1, 0.0
)
TRAINING = Training(1000, 2.0, 1.9, 0.0, 10**8, "last point", 1000)
EVIL = "a|b<b>[/x]\x1b]0;t\x07&_%$#{}~^\\"


def score(nats: float, blocks: tuple[float | None, ...] = (), unknown: int = 0) -> Score:
    total = None if math.isinf(nats) else 5_000 * nats
    zero = int(math.isinf(nats))
    return Score(5_000, total, unknown, total, zero, 25_000, 25_000, blocks)


def record(model: str, nats: float, seed: int | None = 0, noise: float = 0.01) -> Record:
    """A record whose test blocks lie around ``nats``, the same way for every model."""
    rng = np.random.default_rng(0)
    own = np.random.default_rng(sum(map(ord, model)))
    scatter = own.normal(0, noise, 50)
    blocks = nats + rng.normal(0, 0.5, 50) + scatter - scatter.mean()
    cell = Cell(Part("c"), Part(model), None, (), seed, "cpu", 1, None)
    kept = score(nats, tuple(map(float, blocks)))
    size = CorpusSize(10, 1000, 0.0)
    inputs = Inputs.of(cell, corpus="d")
    return Record(
        inputs=inputs,
        normalised=True,
        corpus=size,
        points=(),
        training=TRAINING,
        valid=kept,
        test=kept,
        score_seconds=0.5,
        total_seconds=3.0,
        parameters=7,
        bytes=56,
        provenance=HERE,
    )


def kernel_record(
    inputs: Inputs, loop: tuple[float, ...], vector: tuple[float, ...]
) -> KernelRecord:
    return KernelRecord(
        inputs=inputs,
        equal=True,
        difference=0.0,
        tolerance=0.0,
        loop_seconds=loop,
        vector_seconds=vector,
        provenance=HERE,
    )


def rows(table: Table) -> list[str]:
    return [row[0] for row in table.rows]


def overview_of(*outcomes: Outcome) -> Table:
    return overview(frame(outcomes))


def marks(table: Table, mark: str) -> list[bool]:
    """Return which rows have a mark at their test perplexity."""
    return [mark in row[table.header.index("test perplexity")] for row in table.rows]


def test_rows_are_ranked_by_test_perplexity() -> None:
    """The lowest comes first and is marked best."""
    table = overview_of(record("worse", 5.0), record("better", 4.0))
    assert rows(table) == ["better", "worse"]
    assert table.best == {0}


def test_a_close_second_is_marked_and_a_far_one_is_not() -> None:
    """What may be the best gets the mark, the first row too; without a second one nobody does."""
    best, far = record("a", 4.0, None, noise=0.2), record("c", 5.0, None)
    table = overview_of(best, record("b", 4.001, None, noise=0.2), far)
    assert marks(table, "≈") == [True, True, False]
    assert marks(overview_of(best, far), "≈") == [False, False]


def test_too_few_seeds_or_tokens_give_no_verdict() -> None:
    """Such a row is not compared: it does not take the mark from the others."""
    others = [record(model, 4.0, None, noise=0.2) for model in "bc"]
    table = overview_of(record("a", 3.0, 0), *others)
    assert table.best == {0}
    assert marks(table, "?") == [True, False, False]
    assert marks(table, "≈") == [False, True, True]
    short = replace(record("a", 4.0, None), test=replace(record("a", 4.0).test, tokens=4_999))
    assert marks(overview_of(short, record("b", 5.0, None)), "?") == [True, False]
    assert "?" in " ".join(table.notes)


def test_seeds_are_a_mean_with_an_interval() -> None:
    """Student's t with two degrees of freedom: 4.303 s / √3."""
    seeds = [record("a", math.log(p), seed) for seed, p in enumerate((10.0, 11.0, 12.0))]
    (row,) = overview_of(*seeds).rows
    assert "11.0 ± 2.5" in row
    assert "3" in row


def test_seeds_that_scatter_do_not_part_two_models() -> None:
    """A gap that blocks see is no verdict when the seeds do not agree on it."""
    spread = [record("a", nats, seed) for seed, nats in enumerate((3.5, 4.0, 4.5))]
    other = [record("b", nats, seed) for seed, nats in enumerate((4.6, 4.05, 3.6))]
    table = overview_of(*spread, *other)
    assert "≈" in table.rows[1][table.header.index("test perplexity")]


def test_corpora_are_ranked_apart() -> None:
    """Each corpus, and each way to read one, has its own best, and a column of its own."""
    one = record("a", 4.0)
    cell = replace(one.cell, corpus=Part("c", (("tokens", "byte"),), (), ("tokens",)))
    two = replace(record("a", 5.0), inputs=Inputs.of(cell, corpus="d"))  # the same bytes
    table = overview_of(one, two)
    assert table.best == {0, 1}
    assert "corpus" in table.header


def test_an_unnormalised_model_has_no_perplexity_and_no_rank() -> None:
    """Its figure stands in a column of its own, below all ranked rows."""
    table = overview_of(record("a", 5.0), replace(record("s", 1.0), normalised=False))
    assert rows(table) == ["a", "s"]
    assert table.best == {0}
    assert table.rows[1][table.header.index("test perplexity")] == "–"
    assert table.rows[1][table.header.index("pseudo-perplexity")] == "2.7"


def test_a_probability_of_zero_is_infinite_and_counted() -> None:
    """∞ in the table, a count in the frame, never best."""
    zero = replace(record("z", 3.0), test=score(math.inf, (None, 1.0)))
    table = overview_of(zero, record("a", 5.0))
    assert rows(table) == ["a", "z"]
    assert "∞" in table.rows[1]
    assert frame([zero])["zero_probability_tokens"].tolist() == [1]


def test_hidden_characters_make_bits_a_lower_bound() -> None:
    """With unknown tokens, bits per character carry ≥ and the share is shown."""
    known, hidden = record("a", 4.0), record("b", 5.0)
    hidden = replace(hidden, test=score(5.0, unknown=100))
    perplexity = details(frame([known, hidden]))[0]
    bits = [row[perplexity.header.index("bits/character")] for row in perplexity.rows]
    assert bits[0] == f"{4 * 100 / math.log(2) / 500:.3f}"
    assert bits[1].startswith("≥ ")
    assert perplexity.rows[1][-1] == "2.00"


def test_a_time_beside_others_carries_a_mark() -> None:
    """A row that shared the machine says so, with a note."""
    table = overview_of(replace(record("a", 4.0), provenance=replace(HERE, jobs=2)))
    assert table.rows[0][table.header.index("train s")] == "~2.00"
    assert any(note.startswith("~") for note in table.notes)


def test_unlike_machines_are_said() -> None:
    """Times of two processors in one table come with a warning."""
    there = replace(HERE, environment=replace(HERE.environment, processor="another"))
    table = overview_of(record("a", 4.0), replace(record("b", 5.0), provenance=there))
    assert "different machines" in " ".join(table.notes)


def test_an_old_record_of_an_edited_plugin_is_not_mixed_in() -> None:
    """Of one cell the newest record counts, not a mean over versions."""
    old, new = record("a", 4.0), record("a", 5.0)
    later = replace(HERE, started="2025-02-01T00:00:00+00:00")
    new = replace(new, inputs=Inputs.of(new.cell, corpus="edited"), provenance=later)
    kept = newest_rows(frame([new, old]))
    assert kept["test_perplexity"].tolist() == [pytest.approx(math.exp(5.0))]


def test_a_pair_that_disagrees_has_no_speedup() -> None:
    """An error stands where the ratio would be."""
    inputs = Inputs.of(KernelCell(Part("sum"), "cpu", 1))
    good = kernel_record(inputs, (4.0, 5.0, 6.0), (1.0, 2.0, 2.5))
    bad = replace(good, equal=False, difference=1.0, loop_seconds=(), vector_seconds=())
    assert speedups(frame([good])).rows[0][-1] == "2.5 ×"
    (row,) = speedups(frame([bad])).rows
    assert row[2] == "no: the two forms differ by 1, 0 is allowed"
    assert row[-1] == "–"


def test_failures_have_their_own_table() -> None:
    """A cell without a result is named with the reason, and is in no mean."""
    failed = Failure(record("a", 1.0).inputs, "timeout", "over 3 s", "", "", 3.0, HERE)
    found = frame([failed, record("b", 4.0)])
    assert rows(overview(found)) == ["b"]
    assert failures(found).rows[0][:2] == ("a seed 0", "timeout")
    assert [table.name for table in tables(found) if table.rows] == [
        "overview",
        "perplexity",
        "time",
        "sizes",
        "failures",
    ]


def test_the_frame_has_one_row_an_outcome() -> None:
    """All promised columns, one row each, plain values for a program."""
    found = frame([record("a", 4.0), record("b", 5.0)])
    assert list(found.columns) == list(COLUMNS)
    row = rows_to_dicts(found)[0]
    assert row["status"] == "done"
    assert row["kernel"] is None
    assert row["train_tokens_per_second"] == 500.0
    assert row["score_tokens_per_second"] == 10_000.0


def test_an_empty_store_has_empty_tables() -> None:
    """No records, no rows, no error."""
    assert [table.name for table in tables(frame([])) if table.rows] == []


def one_row(name: str) -> Table:
    return Table(name=name, title="", header=("a",), rows=(("1",),), numeric_columns=1)


def test_a_table_that_is_empty_now_leaves_no_file(tmp_path: Path) -> None:
    """Each kind of table that was written goes when its last row does."""
    named = {table.name for table in tables(frame([]))}
    write_tables([one_row(name) for name in named], tmp_path)
    assert {path.stem for path in tmp_path.iterdir()} == named
    write_tables(tables(frame([])), tmp_path)
    assert list(tmp_path.iterdir()) == []


EVIL_ROWS = ((EVIL, "1.0 ± 0.1"), ("b", "∞"))
TABLE = Table(
    name="t",
    title="Title",
    header=("name", "figure"),
    rows=EVIL_ROWS,
    numeric_columns=1,
    best=frozenset({0}),
)


def test_markdown_cells_cannot_break_out() -> None:
    """A name with pipes and tags stays one cell and is no markup."""
    lines = to_markdown(TABLE).splitlines()
    row = next(line for line in lines if "1.0" in line)
    assert row.replace("\\|", "").count("|") == 3
    assert "<b>" not in row.replace("\\<", "")
    assert "\x1b" not in row
    assert row.count("**") == 4


def test_latex_cells_are_escaped() -> None:
    """Every character that TeX reads as its own is escaped."""
    body = to_latex(TABLE)
    row = next(line for line in body.splitlines() if line.startswith(r"\textbf"))
    name, figure = row.removesuffix(r" \\").split(" & ")
    ours = r"\\text(asciitilde|asciicircum|backslash)\{\}|\\textbf|\\[&%$#_{}]"
    assert re.sub(ours, "", name) == "{a|b<b>[/x]\ufffd]0;t\ufffd}"
    assert figure == r"\textbf{1.0 $\pm$ 0.1}"
    assert body.startswith("\\begin{tabular}{lr}")


def test_csv_can_be_read_back() -> None:
    """CSV holds each cell as it is shown, control characters apart."""
    found = list(csv.reader(io.StringIO(to_csv(TABLE))))
    assert found == [["name", "figure"], [printable(EVIL), "1.0 ± 0.1"], ["b", "∞"]]


def test_a_terminal_shows_markup_as_text() -> None:
    """rich's own tags in a name are shown, and escapes never reach the screen."""
    from rich.console import Console

    screen = Console(width=80, file=io.StringIO(), force_terminal=True)
    screen.print(to_rich(TABLE))
    shown = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "[/x]" in shown
    assert "\x1b]" not in shown
    assert "\x07" not in shown


@pytest.mark.parametrize("width", [40, 80, 100, 140])
def test_a_narrow_screen_loses_columns_and_not_names(width: int) -> None:
    """Names and perplexities stay whole; columns that do not fit are named in a note."""
    from rich.console import Console

    table = overview_of(record("a-model-with-a-name", 4.0), record("another", 5.0))
    screen = Console(width=width, file=io.StringIO())
    screen.print(to_rich(table.fit_to_width(width)))
    shown = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "54.6" in shown
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= width
    if width >= 80:
        assert "a-model-with-a-name" in shown
    assert ("Left out" in shown) == (table.width > width)


def test_seeds_of_two_versions_are_two_lines() -> None:
    """A corpus that was edited between two seeds gives no mean over two texts."""
    one, two = record("a", 4.0, seed=0), record("a", 5.0, seed=1)
    two = replace(two, inputs=Inputs.of(two.cell, corpus="edited"))
    table = overview_of(one, two)
    assert [row[table.header.index("seeds")] for row in table.rows] == ["1", "1"]
    assert "version" in table.header


def test_an_infinite_difference_can_be_recorded() -> None:
    """Twins of unlike shapes have no finite distance; the record says so and can be read."""
    inputs = Inputs.of(KernelCell(Part("sum"), "cpu", 1))
    unlike = replace(kernel_record(inputs, (), ()), equal=False, difference=math.inf)
    found = decode_outcome(encode_outcome(unlike), inputs.address)
    assert isinstance(found, KernelRecord)
    assert speedups(frame([found])).rows[0][2] == "no: the two forms differ by inf, 0 is allowed"


def test_numbers_that_cannot_be_are_refused() -> None:
    """A normalised model has no perplexity below 1, and no training on fewer than no tokens."""
    good = record("a", 4.0)
    with pytest.raises(RecordError, match="below 1"):
        replace(good, test=score(-1.0))
    with pytest.raises(RecordError, match="trained on -5"):
        replace(good, training=replace(TRAINING, tokens=-5))
