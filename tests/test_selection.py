"""Which cells a filter means, by names, options, and what stands beside the parts."""

from __future__ import annotations

from typing import Any

import pytest

from lmgrid.grid import AnyCell, Cell, GridError, KernelCell, Part, Value, show
from lmgrid.gridfile.filters import Filter

TEXT = Part("file", (("lowercase", True),), (("path", "a.txt"),))
COUNT = Cell(TEXT, Part("ngram", (("order", 3), ("delta", 1.0))), None, (), None, "cpu", 1, None)
DROP, CLIP = Part("dropout", (("rate", 0.5),)), Part("clip", (("norm", 1.0),))
NET = Cell(
    TEXT,
    Part("rnn", (("hidden", 64), ("shape", (1, 2)), ("start", None))),
    Part("sgd", (("lr", 1e-05),)),
    (DROP, CLIP),
    7,
    "cuda:0",
    2,
    None,
)
PAIR = KernelCell(Part("lecture", (("n", 500),)), "cpu", 1)
CELLS: dict[str, AnyCell] = {"count": COUNT, "net": NET, "pair": PAIR}


def matching(conditions: dict[str, Any]) -> set[str]:
    """Return which of the three cells satisfy every condition."""
    chosen = Filter(tuple(conditions.items()), "here")
    chosen.check(tuple(CELLS.values()))
    return {name for name, cell in CELLS.items() if chosen.matches(cell)}


@pytest.mark.parametrize(
    ("key", "values", "names"),
    [
        ("model", ("rnn",), {"net"}),
        ("model", ("rnn", "ngram"), {"net", "count"}),
        ("corpus", ("file",), {"net", "count"}),
        ("kernel", ("lecture",), {"pair"}),
        ("optimizer", ("sgd",), {"net"}),
        ("optimizer", ("none",), {"count"}),
        ("regularizer", ("clip",), {"net"}),
        ("regularizer", ("none", "dropout"), {"net", "count"}),
        ("seed", (7,), {"net"}),
        ("seed", (8,), set()),
        ("device", ("cpu",), {"count", "pair"}),
        ("threads", (1, 2), {"count", "net", "pair"}),
        ("model.order", (3,), {"count"}),
        ("model.order", ("3",), {"count"}),
        ("rnn.hidden", (64, 128), {"net"}),
        ("rnn.hidden", (128,), set()),
        ("rnn.shape", ([1, 2],), {"net"}),
        ("rnn.start", ("none",), {"net"}),
        ("ngram.delta", (1,), {"count"}),
        ("optimizer.lr", (0.00001,), {"net"}),
        ("regularizer.rate", (0.5,), {"net"}),
        ("clip.norm", (1.0,), {"net"}),
        ("corpus.lowercase", (True,), {"net", "count"}),
        ("file.path", ("a.txt",), {"net", "count"}),
        ("kernel.n", (500,), {"pair"}),
        ("lecture.n", (500,), {"pair"}),
    ],
)
def test_a_key_means(key: str, values: tuple[Value, ...], names: set[str]) -> None:
    """A kind, a kind's option, a part's option, or what stands beside the parts."""
    assert matching({key: values}) == names


def test_different_keys_must_all_hold() -> None:
    """Each further key leaves fewer."""
    assert matching({"corpus": ("file",), "seed": (7,)}) == {"net"}
    assert matching({"model": ("ngram",), "seed": (7,)}) == set()
    assert matching({}) == set(CELLS)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model", "rn", "here: no model 'rn' in this grid; did you mean 'rnn'?"),
        ("optimizer", "adam", "here: no optimizer 'adam' in this grid; there are: none, sgd"),
        ("modle", "rnn", "here: unknown key 'modle'; did you mean 'model'?"),
        ("rnn", "x", "here: unknown key 'rnn'; there are: corpus, device, kernel, model"),
        ("rnm.hidden", 1, "here: unknown key 'rnm.hidden'; did you mean 'rnn'?"),
        ("rnn.hiden", 1, "here: rnn has no option 'hiden'; did you mean 'hidden'?"),
        ("rnn.", 1, "here: rnn has no option ''; there are: hidden, shape, start"),
        ("model.rate", 1, "here: model has no option 'rate'; there are: delta, hidden, order"),
        ("seed.x", 1, "here: unknown key 'seed.x'"),
        ("", 1, "here: unknown key ''"),
    ],
)
def test_a_filter_of_nothing_is_told(key: str, value: Value, message: str) -> None:
    """A key or a name that occurs nowhere is a mistake, with the near match."""
    with pytest.raises(GridError) as caught:
        matching({key: (value,)})
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "true"),
        (False, "false"),
        (None, "none"),
        (3, "3"),
        (3.0, "3"),
        (0.25, "0.25"),
        (1e-05, "1e-05"),
        ("a.0", "a.0"),
        ((1, 2.5, "x"), "(1,2.5,x)"),
        ((), "()"),
    ],
)
def test_a_value_is_shown(value: Value, shown: str) -> None:
    """As tables, labels and filters write it."""
    assert show(value) == shown
