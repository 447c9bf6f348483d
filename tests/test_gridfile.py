"""A grid file to cells: what an axis is, what a cell cannot feel, and what a mistake is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmgrid.budget import Budget
from lmgrid.grid import Cell, Grid, GridError, KernelCell
from lmgrid.gridfile.reader import Overrides, read_grid
from lmgrid.machine.cpu import CpuPart, Processor
from lmgrid.plugin.provided import CORE, Plugin, ProvidedPart
from lmgrid.plugin.registry import Registry
from lmgrid.records.record import Inputs
from lmgrid.spec import (
    CorpusPart,
    Device,
    DevicePart,
    KernelPart,
    ModelPart,
    OptimizerPart,
    Place,
    RegularizerPart,
    ReporterPart,
)


class NotMade:
    """Planning must not make anything."""

    def make(self, context: Any) -> Any:
        raise AssertionError("reading a grid made a part")


@dataclass(frozen=True)
class Words(NotMade, CorpusPart):
    """A corpus."""

    train: Path | None = None
    lowercase: bool = False
    shares: tuple[float, ...] = (0.8, 0.2)

    def digest(self, place: Place) -> str:
        return "digest"


@dataclass(frozen=True)
class Count(NotMade, ModelPart):
    """A model that counts."""

    deterministic: ClassVar[bool] = True

    order: Annotated[int, msgspec.Meta(ge=1)] = 3
    delta: float = 1.0


@dataclass(frozen=True)
class Sample(NotMade, ModelPart):
    """A model that counts what it draws."""

    rate: float = 0.5


@dataclass(frozen=True)
class Net(NotMade, ModelPart):
    """A network."""

    by_gradient: ClassVar[bool] = True
    devices: ClassVar[tuple[str, ...]] = ("cpu", "fast*")
    sites: ClassVar[tuple[str, ...]] = ("hidden",)

    hidden: int = 10
    cell: Literal["elman", "lstm"] = "elman"

    def __post_init__(self) -> None:
        if self.hidden == 13:
            raise ValueError("13 is unlucky; take 12")


@dataclass(frozen=True)
class Choice(NotMade, ModelPart):
    """A network whose options decide where it runs, what it marks and what it feels."""

    by_gradient: ClassVar[bool] = True

    exact: bool = True
    samples: int = 100
    fast: bool = False

    @property
    def devices(self) -> tuple[str, ...]:
        return ("fast*",) if self.fast else ("cpu", "fast*")

    @property
    def sites(self) -> tuple[str, ...]:
        return ("hidden",) if self.exact else ()

    @property
    def inactive_options(self) -> tuple[str, ...]:
        return ("samples",) if self.exact else ()


@dataclass(frozen=True)
class Bare(NotMade, ModelPart):
    """A network that marks no site and has no options."""

    by_gradient: ClassVar[bool] = True


@dataclass(frozen=True)
class SgdPart(NotMade, OptimizerPart):
    """An optimizer."""

    lr: Annotated[float, msgspec.Meta(gt=0)] = 1.0


@dataclass(frozen=True)
class AdamPart(NotMade, OptimizerPart):
    """Another."""

    lr: float = 0.001
    falling: bool = False

    @property
    def needs_length(self) -> bool:
        return self.falling


@dataclass(frozen=True)
class Drop(NotMade, RegularizerPart):
    """Acts at a site."""

    sites: ClassVar[tuple[str, ...]] = ("hidden", "input")

    rate: float = 0.5


@dataclass(frozen=True)
class Clip(NotMade, RegularizerPart):
    """Needs no site."""

    norm: float = 1.0


@dataclass(frozen=True)
class Watch(NotMade, ReporterPart):
    """Looks at a site."""

    sites: ClassVar[tuple[str, ...]] = ("hidden",)

    lags: int = 3


@dataclass(frozen=True)
class Product(NotMade, KernelPart):
    """A pair."""

    size: int = 100


class Accelerator(Processor):
    """Two of them."""

    def available(self) -> tuple[str, ...]:
        return ("fast:0", "fast:1")


@dataclass(frozen=True)
class Fast(DevicePart):
    """A fast device."""

    def make(self) -> Device:
        return Accelerator()


PARTS: dict[str, dict[str, type[Any]]] = {
    "corpus": {"words": Words},
    "model": {"count": Count, "sample": Sample, "net": Net, "choice": Choice, "bare": Bare},
    "optimizer": {"sgd": SgdPart, "adam": AdamPart},
    "regularizer": {"drop": Drop, "clip": Clip},
    "reporter": {"watch": Watch},
    "kernel": {"product": Product},
    "device": {"cpu": CpuPart, "fast*": Fast},
}
REGISTRY = Registry(
    [
        Plugin(
            "test",
            CORE,
            "1",
            tuple(
                ProvidedPart(kind, name, part, CORE)
                for kind, parts in PARTS.items()
                for name, part in parts.items()
            ),
        )
    ]
)
CORPUS = '[[corpora]]\nname = "words"\n'
COUNT = CORPUS + '[[models]]\nname = "count"\n'
NET = CORPUS + '[[models]]\nname = "net"\noptimizers = ["sgd"]\n'
CHOICE = CORPUS + '[[models]]\nname = "choice"\noptimizers = ["sgd"]\n'
BOTH = (
    'optimizers = ["sgd"]\nregularizers = [[], ["drop"]]\n'
    + CORPUS
    + '[[models]]\nname = "count"\n[[models]]\nname = "net"\n'
)
Read = Callable[..., Grid]


def read_text(folder: Path, text: str, **asked: Any) -> Grid:
    path = folder / "mine.toml"
    path.write_text(text)
    return read_grid(path, REGISTRY, Overrides(**asked))


@pytest.fixture
def read(tmp_path: Path) -> Read:
    return lambda text, **asked: read_text(tmp_path, text, **asked)


def models(grid: Grid) -> list[Cell]:
    return [cell for cell in grid.cells if isinstance(cell, Cell)]


def options(cells: Sequence[Cell], name: str) -> list[Any]:
    return [dict(cell.model.options)[name] for cell in cells]


# ---------------------------------------------------------------- axes and defaults


def test_every_list_is_an_axis(read: Read) -> None:
    """Lists of options, of seeds, of optimizers' options and of regularizers' all multiply."""
    grid = read(
        "seeds = [0, 1]\ndevices = ['cpu', 'fast:1']\nthreads = [1, 2]\n"
        + CORPUS
        + 'lowercase = [false, true]\n[[models]]\nname = "net"\nhidden = [8, 9, 10]\n'
        'cell = ["elman", "lstm"]\n'
        'optimizers = [{ name = "sgd", lr = [0.1, 0.2] }, "adam"]\n'
        'regularizers = [[], [{ name = "drop", rate = [0.1, 0.2, 0.3] }, "clip"]]\n'
    )
    assert len(grid.cells) == len(set(grid.cells)) == 2 * (3 * 2) * 3 * (1 + 3) * 2 * 2 * 2


def test_an_option_that_is_not_felt_is_no_axis(read: Read) -> None:
    """Where another option makes it idle it has its default, so that no two cells are the same."""
    cells = models(read(CHOICE + "exact = [true, false]\nsamples = [10, 20]\n"))
    assert options(cells, "exact") == [True, False, False]
    assert options(cells, "samples") == [100, 10, 20]


def test_an_option_decides_where_a_model_runs(read: Read) -> None:
    """A device that it cannot run on is left out, as for any other model."""
    cells = models(read("devices = ['cpu', 'fast:0']\n" + CHOICE + "fast = [false, true]\n"))
    found = [(fast, cell.device) for fast, cell in zip(options(cells, "fast"), cells, strict=True)]
    assert found == [(False, "cpu"), (False, "fast:0"), (True, "fast:0")]


def test_a_value_that_is_a_list_stands_in_one_more_pair_of_brackets(read: Read) -> None:
    """One axis of two tuples."""
    grid = read(COUNT.replace('"words"\n', '"words"\nshares = [[0.5, 0.5], [0.9, 0.1]]\n'))
    found = [dict(cell.corpus.options)["shares"] for cell in models(grid)]
    assert found == [(0.5, 0.5), (0.9, 0.1)]


def test_defaults_are_filled_in(read: Read) -> None:
    """Each option is in the cell, in one order, whether it was written or not."""
    (cell,) = models(read(NET))
    assert cell.model.options == (("cell", "elman"), ("hidden", 10))
    assert cell.optimizer is not None
    assert cell.optimizer.options == (("lr", 1.0),)
    assert (cell.regularizers, cell.seed, cell.device, cell.threads) == ((), 0, "cpu", 1)
    assert cell.budget == Budget(epochs=1)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (NET, NET + "hidden = 10\n"),
        (NET, NET + 'cell = "elman"\nhidden = [10]\n'),
        (NET, NET.replace('["sgd"]', '[{ name = "sgd", lr = 1 }]')),
        (NET, NET.replace('["sgd"]', '["sgd", "sgd"]')),
        (NET, 'optimizers = ["sgd"]\n' + NET.replace('optimizers = ["sgd"]\n', "")),
        (NET, "budget = { epochs = 1.0 }\nseeds = 0\nthreads = [1]\n" + NET),
        (NET, NET + "seeds = [0, 0]\n"),
        ("budget = {}\n" + NET, "budget = { epochs = 1 }\n" + NET),
        (NET, NET + 'devices = ["cpu", "cpu"]\n'),
        (NET, NET + NET.removeprefix(CORPUS)),
        ('devices = ["fast"]\n' + NET, 'devices = ["auto", "fast:0"]\n' + NET),
        (
            '[[kernels]]\nname = "product"\n',
            '[[kernels]]\nname = "product"\nsize = [100, 100]\n',
        ),
    ],
)
def test_two_spellings_are_one_cell(read: Read, one: str, two: str) -> None:
    """What means the same is the same cell, once, under the same address."""
    (cell,) = read(one).cells
    assert read(two).cells == (cell,)
    (other,) = read(two).cells
    assert Inputs.of(other).address == Inputs.of(cell).address


def test_what_a_counting_model_cannot_feel_is_none(read: Read) -> None:
    """The grid's optimizers, regularizers, seeds and budget multiply the network alone."""
    grid = read("seeds = [0, 1, 2]\nbudget = { epochs = 3 }\n" + BOTH)
    counting, *trained = models(grid)
    assert (counting.optimizer, counting.regularizers, counting.seed) == (None, (), None)
    assert counting.budget is None
    assert len(trained) == 2 * 3


def test_a_model_that_draws_feels_the_seed_alone(read: Read) -> None:
    """Counting and being deterministic are two things."""
    text = CORPUS + '[[models]]\nname = "sample"\nseeds = [3, 4]\n'
    assert [(cell.seed, cell.budget) for cell in models(read(text))] == [(3, None), (4, None)]


def test_a_block_may_have_its_own_settings(read: Read) -> None:
    """Seeds, devices, threads and budget of one model's block do not touch the other's."""
    own = "seeds = [7]\ndevices = ['fast']\nthreads = 2\nbudget = { tokens = 500 }\n"
    grid = read("seeds = [1]\nbudget = { epochs = 2 }\n" + NET + own + NET.removeprefix(CORPUS))
    found = [(c.seed, c.device, c.threads, c.budget) for c in models(grid)]
    assert found == [
        (7, "fast:0", 2, Budget(tokens=500)),
        (1, "cpu", 1, Budget(epochs=2)),
    ]


def test_a_model_runs_where_it_can(read: Read) -> None:
    """A grid's device that a model does not know leaves it on the processor."""
    grid = read('devices = ["fast"]\n' + BOTH)
    assert [cell.device for cell in models(grid)] == ["cpu", "fast:0", "fast:0"]


def test_kernels_are_cells_of_their_own(read: Read) -> None:
    """Sizes are an axis; neither seeds nor budgets are felt, and no corpus is needed."""
    grid = read('seeds = [1, 2]\n[[kernels]]\nname = "product"\nsize = [10, 20]\n')
    assert all(isinstance(cell, KernelCell) for cell in grid.cells)
    assert [cell.label for cell in grid.cells] == [
        "kernel product[size=10]",
        "kernel product[size=20]",
    ]


def test_the_grid_has_the_files_name_and_folder(read: Read, tmp_path: Path) -> None:
    """Relative paths count from the grid file."""
    grid = read('title = "Mine"\n' + COUNT)
    assert (grid.name, grid.title, grid.folder) == ("mine", "Mine", tmp_path)


def test_file_names_are_no_part_of_the_identity(read: Read) -> None:
    """The same bytes under another name have the same address, and the label tells the name."""
    one, two = (
        models(read(COUNT.replace('"words"\n', f'"words"\ntrain = "{name}"\n')))[0]
        for name in ("a.txt", "v2.0")
    )
    assert one.corpus.files == (("train", "a.txt"),)
    assert one != two
    assert Inputs.of(one, corpus="d").address == Inputs.of(two, corpus="d").address
    assert Inputs.of(one, corpus="d").address != Inputs.of(one, corpus="e").address
    assert two.corpus.label == "words[train=v2.0]"


def test_ten_thousand_cells(read: Read) -> None:
    """A large grid is read as any other."""
    numbers = ", ".join(map(str, range(20, 120)))
    exclude = '[[exclude]]\nmodel = "net"\n"net.hidden" = 50\nbecause = "not that one"\n'
    grid = read(f"seeds = [{numbers}]\n{NET}hidden = [{numbers}]\n{exclude}")
    assert (len(grid.cells), len(grid.excluded)) == (9_900, 100)


BLOCKS = (
    '[[models]]\nname = "count"\norder = [1, 2]\n',
    '[[models]]\nname = "net"\nhidden = [4, 5]\noptimizers = ["sgd", "adam"]\n',
    '[[models]]\nname = "net"\ncell = "lstm"\noptimizers = ["sgd"]\nseeds = [5]\n',
    '[[corpora]]\nname = "words"\nlowercase = [true, false]\n',
    '[[corpora]]\nname = "words"\ntrain = "a.txt"\n',
    '[[kernels]]\nname = "product"\nsize = [1, 2]\n',
    '[[exclude]]\nmodel = "net"\noptimizer = "adam"\nbecause = "slow"\n',
)


@given(st.permutations(BLOCKS), st.data())
def test_order_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, blocks: list[str], data: st.DataObject
) -> None:
    """However blocks and keys are ordered, the cells are the same, and the excluded ones."""
    shuffled = []
    for block in blocks:
        head, *keys = block.splitlines()
        shuffled.append("\n".join([head, *data.draw(st.permutations(keys))]))
    folder = tmp_path_factory.mktemp("grid", numbered=True)
    one = read_text(folder, "\n".join(BLOCKS))
    two = read_text(folder, "\n".join(shuffled))
    assert set(one.cells) == set(two.cells)
    assert set(one.excluded) == set(two.excluded)


# ---------------------------------------------------------------- exclude, --only


def test_an_excluded_cell_keeps_its_reason(read: Read) -> None:
    """It is no cell of the grid any more, and the plan can say why; the first reason counts."""
    exclude = '[[exclude]]\nregularizer = "drop"\nbecause = "{}"\n'
    grid = read(BOTH + exclude.format("too slow") + exclude.format("again"))
    assert len(grid.cells) == 2
    (excluded,) = grid.excluded
    assert (excluded.cell.label, excluded.because) == (
        "net + sgd + drop seed 0 on words",
        "too slow",
    )


@pytest.mark.parametrize(
    ("condition", "left"),
    [
        ('model = "count"', 4),
        ('model = ["count", "net"]', 0),
        ("model.hidden = 8", 3),
        ('"model.hidden" = [8, 9]', 1),
        ("net.hidden = 8\nregularizer = 'drop'", 4),
        ('regularizer = "none"', 2),
        ("seed = 0", 1),
        ("drop.rate = 0.5", 3),
    ],
)
def test_exclude_matches_names_and_options(read: Read, condition: str, left: int) -> None:
    """Values of one key are alternatives, different keys must all hold."""
    text = BOTH + "hidden = [8, 9]\n" + f"[[exclude]]\n{condition}\nbecause = 'so'\n"
    assert len(models(read(text + '[[kernels]]\nname = "product"\n'))) == left


@pytest.mark.parametrize("condition", ["seed = 7", "net.hidden = 9", 'device = "fast:0"'])
def test_an_exclude_that_matches_nothing_is_a_mistake(read: Read, condition: str) -> None:
    """It is a slip of the file, unless an override took away what it was meant for."""
    text = BOTH + f"[[exclude]]\n{condition}\nbecause = 'so'\n"
    with pytest.raises(GridError, match=r"exclude\[0\]: matches no cell"):
        read(text)
    assert read(text, sets=("net.hidden=4",)).cells


@pytest.mark.parametrize(
    ("only", "left"),
    [
        (("model=net",), 4),
        (("model=net", "model=count"), 5),
        (("optimizer=none",), 1),
        (("net.hidden=8",), 2),
        (("model.hidden=[8,9]", "regularizer=none"), 2),
        (("seed=0", "corpus=words"), 4),
        (("corpus.train=a.txt",), 5),
    ],
)
def test_only_keeps_what_matches(read: Read, only: tuple[str, ...], left: int) -> None:
    """Repeats of one key are alternatives, different keys must all hold."""
    text = BOTH.replace('"words"\n', '"words"\ntrain = "a.txt"\n') + "hidden = [8, 9]\n"
    assert len(read(text, only=only).cells) == left


# ---------------------------------------------------------------- overrides


@pytest.mark.parametrize(
    ("sets", "hidden"),
    [
        (("net.hidden=64",), [64, 64]),
        (("model.hidden=64",), [64, 64]),
        (("net.hidden=[6, 7]",), [6, 6, 7, 7]),
        (("net.hidden=6", "net.hidden=7"), [7, 7]),
        (("net.cell=lstm",), [10, 10]),
        (('net.cell="lstm"',), [10, 10]),
    ],
)
def test_set_overrides_every_block_that_has_the_option(
    read: Read, sets: tuple[str, ...], hidden: list[int]
) -> None:
    """By kind or by name; a list is an axis; the last word counts."""
    found = models(read(BOTH, sets=sets))
    assert options(found[1:], "hidden") == hidden
    assert options(found[:1], "order") == [3]


def test_set_reaches_optimizers_and_regularizers(read: Read) -> None:
    """Those of the grid and those of a block, inside lists that act together."""
    text = BOTH + 'optimizers = [{ name = "sgd", lr = 3.0 }, "adam"]\nregularizers = [["drop"]]\n'
    found = models(read(text, sets=("optimizer.lr=0.5", "drop.rate=0.25")))[1:]
    optimizers = {cell.optimizer.label for cell in found if cell.optimizer}
    assert optimizers == {"sgd[lr=0.5]", "adam[lr=0.5]"}
    assert {part.label for cell in found for part in cell.regularizers} == {"drop[rate=0.25]"}


def test_set_of_a_setting_holds_for_every_block(read: Read) -> None:
    """It overrides what a block says of itself, and of a budget only the limit that is named."""
    text = "budget = { epochs = 2, tokens = 9 }\n" + NET + "seeds = [5]\nbudget = { seconds = 1 }\n"
    (cell,) = models(read(text, sets=("seeds=[6]", "budget.epochs=4", "threads=2", "title=New")))
    assert (cell.seed, cell.threads) == (6, 2)
    assert cell.budget == Budget(epochs=4, seconds=1)
    (cell,) = models(read(text, sets=("budget={ tokens = 7 }",)))
    assert cell.budget == Budget(tokens=7)


def test_device_and_seed_override_the_file(read: Read) -> None:
    """Given twice, they are an axis; the counting model feels neither."""
    text = "seeds = [0]\n" + BOTH + "seeds = [5]\ndevices = ['cpu']\n"
    found = models(read(text, devices=("fast:1", "cpu"), seeds=(8, 9)))
    assert {(cell.device, cell.seed) for cell in found[1:]} == {
        (device, seed) for device in ("fast:1", "cpu") for seed in (8, 9)
    }
    assert (found[0].device, found[0].seed) == ("cpu", None)


# ---------------------------------------------------------------- mistakes

MISTAKES: list[tuple[str, str]] = [
    # keys
    ("optimizer = ['sgd']\n" + NET, "optimizer: unknown key; did you mean 'optimizers'?"),
    (BOTH + "hiden = 3\n", "models[1].hiden: unknown option; did you mean 'hidden'?"),
    (NET + "seed = 3\n", "models[0].seed: unknown option; did you mean 'seeds'?"),
    (NET.replace("optimizers", "optimizer"), "models[0].optimizer: unknown option; did you mean"),
    (NET + "[models.x]\ny = 1\n", "models[0].x: unknown option; there are: budget, cell, "),
    ("budget = { epoch = 1 }\n" + NET, "budget.epoch: unknown key; did you mean 'epochs'?"),
    (NET + "budget = { epoch = 1 }\n", "models[0].budget.epoch: unknown key"),
    (NET.replace('["sgd"]', '[{ name = "sgd", r = 1 }]'), "models[0].optimizers[0].r: unknown"),
    (
        NET + "regularizers = [['clip'], ['clip', { name = 'drop', rat = 1 }]]\n",
        "models[0].regularizers[1][1].rat: unknown option; did you mean 'rate'?",
    ),
    ("[[kernels]]\nname = 'product'\nsiez = 1\n", "kernels[0].siez: unknown option; did you mean"),
    # names
    (
        COUNT.replace("count", "cuont"),
        "models[0].name: unknown model 'cuont'; did you mean 'count'?",
    ),
    (
        COUNT.replace("words", "word"),
        "corpora[0].name: unknown corpus 'word'; did you mean 'words'?",
    ),
    (NET.replace("sgd", "sdg"), "models[0].optimizers[0].name: unknown optimizer 'sdg'; did you"),
    (NET + "regularizers = [['dorp']]\n", "models[0].regularizers[0][0].name: unknown regularizer"),
    ("[[kernels]]\nname = 'x'\n", "kernels[0].name: unknown kernel 'x'; there are: product"),
    (CORPUS + "[[models]]\norder = 2\n", 'models[0]: name the model, name = "…"'),
    (CORPUS + "[[models]]\nname = ['count', 'net']\n", "models[0]: name the model"),
    # types and bounds
    (NET + "hidden = 'wide'\n", "models[0].hidden: Expected `int`, got `str`"),
    (NET + "hidden = [10, 2.5]\n", "models[0].hidden: Expected `int`, got `float`"),
    (NET + "hidden = true\n", "models[0].hidden: Expected `int`, got `bool`"),
    (NET + "hidden = 1979-05-27\n", "models[0].hidden: Expected `int`"),
    (NET + "hidden = { a = 1 }\n", "models[0].hidden: Expected `int`, got `object`"),
    (NET + "hidden = 13\n", "models[0]: 13 is unlucky; take 12"),
    (NET + "cell = 'gru'\n", "models[0].cell: Invalid enum value 'gru'"),
    (COUNT + "order = 0\n", "models[0].order: Expected `int` >= 1"),
    (COUNT + "delta = nan\n", "models[0].delta: nan is not a finite number"),
    (COUNT + "delta = [1.0, -inf]\n", "models[0].delta: -inf is not a finite number"),
    (COUNT.replace('words"\n', 'words"\nshares = [[1.0, inf]]\n'), "corpora[0].shares: inf is not"),
    (COUNT.replace('words"\n', 'words"\ntrain = 3\n'), "corpora[0].train: Expected"),
    (COUNT.replace('words"\n', 'words"\ntrain = ""\n'), "corpora[0].train: Expected the name of"),
    ("title = 3\n" + COUNT, "title: Expected `str`, got `int`"),
    ("budget = 3\n" + NET, "budget: expected a table such as { epochs = 3 }"),
    ("budget = { epochs = 'x' }\n" + NET, "budget: Expected `float"),
    ("budget = { epochs = 0 }\n" + NET, "budget: epochs must be positive, not 0"),
    (NET + "budget = { seconds = nan }\n", "models[0].budget: seconds must be positive, not nan"),
    ("budget = { tokens = 1.5 }\n" + NET, "budget: Expected `int | null`, got `float`"),
    ("seeds = [0, -1]\n" + NET, "seeds: -1 is not between 0 and"),
    (NET + "seeds = 'x'\n", "models[0].seeds: Expected `int`, got `str`"),
    ("seeds = 99999999999999999999\n" + NET, "seeds: "),
    ("threads = 0\n" + NET, "threads: 0 is not between 1 and"),
    (NET + "threads = [2, 0]\n", "models[0].threads: 0 is not between 1 and"),
    (
        "devices = ['quick']\n" + NET,
        "'quick' is not on this machine; there are: cpu, fast:0, fast:1",
    ),
    ("devices = ['fats:1']\n" + NET, "'fats:1' is not on this machine; did you mean 'fast:1'?"),
    ("devices = 3\n" + NET, "devices: Expected `str`, got `int`"),
    ("threads = 0\n" + NET + "threads = 1\n", "mine.toml: threads: 0 is not between 1 and"),
    ("devices = 3\n" + NET + "devices = ['cpu']\n", "mine.toml: devices: Expected `str`"),
    (COUNT + "devices = ['fast']\n", "models[0].devices: 'count' runs only on cpu; name"),
    (
        CHOICE + "fast = [false, true]\n",
        "models[0].devices: 'choice[fast=true]' runs only on fast*; name such a device",
    ),
    # axes
    (NET + "hidden = []\n", "models[0].hidden: an empty list leaves nothing to run"),
    ("seeds = []\n" + NET, "seeds: an empty list leaves nothing to run"),
    (NET + "threads = []\n", "models[0].threads: an empty list leaves nothing to run"),
    ("devices = []\n" + NET, "devices: an empty list leaves nothing to run"),
    ("optimizers = []\n" + BOTH.split("\n", 1)[1], "optimizers: expected a list that is not empty"),
    (NET + "regularizers = []\n", "models[0].regularizers: expected a list that is not empty"),
    # what a model cannot feel, or must have
    (COUNT + "optimizers = ['sgd']\n", "models[0].optimizers: 'count' is not trained by gradient"),
    (COUNT + "regularizers = [['clip']]\n", "models[0].regularizers: 'count' is not trained"),
    (COUNT + "budget = { epochs = 1 }\n", "models[0].budget: 'count' is not trained by gradient"),
    (COUNT + "seeds = [1]\n", "models[0].seeds: 'count' is deterministic; remove seeds"),
    (
        NET.replace('optimizers = ["sgd"]', ""),
        "models[0].optimizers: 'net' is trained by gradient; name an optimizer",
    ),
    (
        NET.replace('"net"', '"bare"') + "regularizers = [[], ['clip', 'drop']]\n",
        "models[0].regularizers: 'drop' acts at hidden, input; 'bare' has no such site",
    ),
    (
        CHOICE + "exact = [true, false]\nregularizers = [['drop']]\n",
        "'choice[exact=false]' has no such site; name 'drop' in the blocks of other models",
    ),
    (NET + "regularizers = ['drop']\n", "models[0].regularizers[0]: each entry is a list"),
    (NET + "regularizers = [[['drop']]]\n", "models[0].regularizers[0][0]: expected a name or"),
    (NET + "regularizers = [[3]]\n", "models[0].regularizers[0][0]: expected a name or a table"),
    (NET.replace('["sgd"]', '[["sgd"]]'), "models[0].optimizers[0]: expected a name or a table"),
    (NET.replace('["sgd"]', '"sgd"'), "models[0].optimizers: expected a list that is not empty"),
    # blocks
    ("[models]\nname = 'count'\n", "models: expected [[models]] blocks"),
    ("corpora = ['words']\n", "corpora: expected [[corpora]] blocks"),
    ("[[models]]\nname = 'count'\n", "corpora: models need a corpus; add a [[corpora]] block"),
    ("title = 'nothing'\n", "the grid has no cells"),
    ("", "the grid has no cells"),
    # exclude
    (COUNT + "[[exclude]]\nmodel = 'count'\n", 'exclude[0]: give the reason, because = "…"'),
    (COUNT + "[[exclude]]\nmodel = 'count'\nbecause = 3\n", "exclude[0]: give the reason"),
    (COUNT + "[[exclude]]\nbecause = 'so'\n", "exclude[0]: has no condition"),
    (
        COUNT + "[[exclude]]\nmodel = 'cuont'\nbecause = 'so'\n",
        "exclude[0]: no model 'cuont' in this grid; did you mean 'count'?",
    ),
    (
        COUNT + "[[exclude]]\nmodle = 'count'\nbecause = 'so'\n",
        "exclude[0]: unknown key 'modle'; did you mean 'model'?",
    ),
    (
        BOTH + "[[exclude]]\nnet.hiden = 3\nbecause = 'so'\n",
        "exclude[0]: net has no option 'hiden'; did you mean 'hidden'?",
    ),
    (
        BOTH + "[[exclude]]\n'nte.hidden' = 3\nbecause = 'so'\n",
        "exclude[0]: unknown key 'nte.hidden'; did you mean 'net'?",
    ),
    (COUNT + "[[exclude]]\nseed = []\nbecause = 'so'\n", "exclude[0].seed: an empty list"),
    (
        COUNT + "[[exclude]]\nmodel = [['count']]\nbecause = 'so'\n",
        "exclude[0]: no model '(count)'",
    ),
    (COUNT + "[[exclude]]\nmodel = 'count'\nbecause = 'so'\n", "every cell is excluded"),
    # TOML
    ("seeds = [0\n[[models]]\n", "is not TOML: "),
    ("title = 'a'\ntitle = 'b'\n", "is not TOML: Cannot overwrite a value (at line 2, column 12)"),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES, ids=[m for _, m in MISTAKES])
def test_a_mistake_is_told(read: Read, tmp_path: Path, text: str, message: str) -> None:
    """One error says in which file, at which key, what is wrong and what is near."""
    with pytest.raises(GridError) as caught:
        read(text)
    assert str(caught.value).startswith(f"{tmp_path / 'mine.toml'}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"sets": ("net.hiden=3",)},
            "--set net.hiden: no block has that option; did you mean 'hidden'?",
        ),
        (
            {"sets": ("nte.hidden=3",)},
            "--set nte.hidden: no block has that option; did you mean 'net'?",
        ),
        ({"sets": ("hidden=3",)}, "--set hidden: no block has that option"),
        (
            {"sets": ("count.hidden=3",)},
            "--set count.hidden: no block has that option; there are: delta, order",
        ),
        ({"sets": ("net.name=count",)}, "--set net.name: no block has that option"),
        ({"sets": ("budget.epoch=3",)}, "--set budget.epoch: no block has that option"),
        ({"sets": ("seed=3",)}, "--set seed: no block has that option; did you mean 'seeds'?"),
        ({"sets": ("net.hidden",)}, "--set net.hidden: expected KEY=VALUE"),
        ({"sets": ("=3",)}, "--set =3: expected KEY=VALUE"),
        ({"sets": ("net.hidden=",)}, "--set net.hidden=: expected KEY=VALUE"),
        ({"sets": ("net.hidden=[1",)}, "--set net.hidden=[1: '[1' is not a TOML value"),
        ({"sets": ("net.hidden=1\nx=2",)}, "more than one value"),
        ({"sets": ("net.hidden=wide",)}, "models[1].hidden: Expected `int`, got `str`"),
        ({"sets": ("net.hidden=[]",)}, "models[1].hidden: an empty list leaves nothing to run"),
        ({"sets": ("budget=3",)}, "budget: expected a table"),
        ({"only": ("model=nte",)}, "--only: no model 'nte' in this grid; did you mean 'net'?"),
        ({"only": ("modle=net",)}, "--only: unknown key 'modle'; did you mean 'model'?"),
        ({"only": ("net=10",)}, "--only: unknown key 'net'; there are: corpus, device, kernel"),
        ({"only": ("net.hiden=10",)}, "--only: net has no option 'hiden'; did you mean 'hidden'?"),
        ({"only": ("model",)}, "--only model: expected KEY=VALUE"),
        ({"only": ("net.hidden=11",)}, "--only net.hidden=11: no cell is left"),
        ({"only": ("seed=9", "model=net")}, "--only seed=9 --only model=net: no cell is left"),
        ({"only": ("model=net", "optimizer=none")}, "no cell is left"),
        ({"only": ("model={ a = 1 }",)}, "--only: no model \"{'a': 1}\" in this grid"),
        ({"devices": ("quick",)}, "'quick' is not on this machine"),
        ({"seeds": (-1,)}, "--seed: -1 is not between 0 and"),
        ({"seeds": (2**63,)}, "--seed: 9223372036854775808 is not between 0 and"),
    ],
)
def test_a_mistake_on_the_command_line_is_told(
    read: Read, asked: dict[str, Any], message: str
) -> None:
    """An override or a filter of nothing is an error, with the near match."""
    with pytest.raises(GridError) as caught:
        read(BOTH, **asked)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        (b"title = '\xff'", "cannot be read: "),
        (b"\xff\xfet\x00", "cannot be read: "),
        (b"seeds = [0,\nx", "is not TOML: Invalid value (at line 2, column 1)"),
        (b"title = '\x00'", "is not TOML: "),
    ],
)
def test_a_file_that_cannot_be_read_is_told(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    """A missing file, one that is not UTF-8, and one that is not TOML, with the line."""
    path = tmp_path / "mine.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(GridError) as caught:
        read_grid(path, REGISTRY)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_folder_is_no_grid(tmp_path: Path) -> None:
    """Nor is anything else that cannot be read as a file."""
    with pytest.raises(GridError, match="cannot be read"):
        read_grid(tmp_path, REGISTRY)


# ---------------------------------------------------------------- with what is installed


def test_the_quickstart_is_a_grid() -> None:
    """The built-ins come through the same door, and each installed grid can be read."""
    pytest.importorskip("torch", reason="needs the extra lmgrid[torch]")
    folder = Path(__file__).parent.parent / "benchmarks"
    for path in folder.glob("*.toml"):
        assert read_grid(path, Registry.installed()).cells


def test_a_built_in_without_its_extra_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that needs torch says how to install it, where torch is not."""
    monkeypatch.setattr("lmgrid.plugin.provided._importable", lambda module: False)
    path = tmp_path / "mine.toml"
    path.write_text(
        CORPUS.replace("words", "kjv") + '[[models]]\nname = "rnn"\noptimizers = ["adam"]\n'
    )
    with pytest.raises(GridError, match=r"needs torch: pip install .* model 'rnn'"):
        read_grid(path, Registry.installed())


# ---------------------------------------------------------------- reporters and schedules


def test_a_reporter_is_part_of_the_cells_it_fits(read: Read) -> None:
    """Asked for at the top, it watches the models that have its site, and leaves the others be."""
    trained = '[[models]]\nname = "bare"\n[[models]]\nname = "count"\n'
    text = 'optimizers = ["sgd"]\nreporters = ["watch"]\n' + CORPUS + trained
    grid = read(text + '[[models]]\nname = "net"\n')
    assert [[p.label for p in cell.reporters] for cell in models(grid)] == [[], [], ["watch"]]


def test_reporters_act_together_and_their_options_are_axes(read: Read) -> None:
    """A list of reporters is no axis; a list of values of one's option is."""
    watched = 'reporters = ["watch", { name = "watch", lags = [1, 2] }]'
    labels = [[p.label for p in cell.reporters] for cell in models(read(NET + watched))]
    assert labels == [["watch", "watch[lags=1]"], ["watch", "watch[lags=2]"]]


def test_a_reporter_without_its_site_is_refused(read: Read) -> None:
    """Where a model's own block asks for it."""
    text = CORPUS + '[[models]]\nname = "bare"\noptimizers = ["sgd"]\nreporters = ["watch"]\n'
    with pytest.raises(GridError, match=r"models\[0\].reporters.*hidden; 'bare' has no such site"):
        read(text)


def test_a_counting_model_has_no_reporters(read: Read) -> None:
    """Its block may not ask for one."""
    with pytest.raises(GridError, match="is not trained by gradient"):
        read(COUNT + 'reporters = ["watch"]\n')


@pytest.mark.parametrize("budget", ["{ seconds = 3 }", "{ epochs = 2, seconds = 3 }"])
def test_a_schedule_that_needs_the_length_is_told_it(read: Read, budget: str) -> None:
    """A budget of seconds alone does not say when training ends; epochs or tokens beside it do."""
    text = f"budget = {budget}\n" + NET.replace('"sgd"', '{ name = "adam", falling = true }')
    if "epochs" in budget:
        assert models(read(text))
    else:
        with pytest.raises(GridError, match=r"adam\[falling=true\].*epochs or tokens"):
            read(text)
