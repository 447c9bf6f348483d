"""How steps are computed: accumulation, precision, compilation and lack of memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from lmgrid import run_grid
from lmgrid.execution.job import RunOptions
from lmgrid.grid import Grid, GridError
from lmgrid.records.record import KernelRecord, Record
from lmgrid.records.store import Store
from lmgrid.spec import Context, LanguageModel, ModelPart, Reading, Recipe, Tokens
from lmgrid.testing import sample_tokens, sample_vocabulary
from lmgrid_rnn.parts import RnnPart
from lmgrid_torch.optimizers.parts import AsgdPart, SgdPart
from lmgrid_torch.regularizers.parts import L2Part
from lmgrid_window.parts import WindowPart

pytest.importorskip("torch", reason="needs the extra lmgrid[torch]")

import torch

from lmgrid_torch.memory import memory_errors
from lmgrid_torch.model import NeuralModel
from lmgrid_torch.regularizers.torch_regularizer import TorchRegularizer
from lmgrid_torch.training.computation import Computation

V = 30
WINDOW = WindowPart(embedding=4, hidden=6, batch=32)
RNN = RnnPart(embedding=4, hidden=6, batch=5, steps=7)
BOTH = pytest.mark.parametrize("part", [WINDOW, RNN], ids=["window", "rnn"])
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
TRAIN = sample_tokens(V, seed=1, count=320)
CONTEXT = Context(
    vocabulary=sample_vocabulary(V),
    counts=np.bincount(TRAIN, minlength=V),
    seed=0,
    device="cpu",
    cache=Path(),
)
RECIPE = Recipe(SgdPart(lr=0.5).make(CONTEXT), (), seed=0, budget=None, point_interval=10**9)


def made(part: ModelPart) -> NeuralModel:
    model = part.make(CONTEXT)
    assert isinstance(model, NeuralModel)
    return model


# ---------------------------------------------------------------- accumulation


def test_accumulated_batches_make_the_step_of_one_large_batch() -> None:
    """Two batches of 16 windows equal one of 32, with the penalty counted once."""
    how = replace(RECIPE, regularizers=(L2Part(weight=0.1).make(CONTEXT),))
    large, small = made(WINDOW), made(replace(WINDOW, batch=16, accumulate=2))
    one, two = (list(islice(model.fit(TRAIN, how), 2)) for model in (large, small))
    for a, b in zip(one, two, strict=True):
        assert a.train_nats == pytest.approx(b.train_nats, rel=1e-5)
        assert a.penalty == pytest.approx(b.penalty, rel=1e-5)
    for x, y in zip(large.network.parameters(), small.network.parameters(), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-6)


@BOTH
def test_an_epoch_ends_with_what_is_left_of_a_step(part: ModelPart) -> None:
    """No batch is dropped, and no step reaches into the next epoch."""
    steps = Doubling()
    how = replace(RECIPE, regularizers=(steps,))
    model = made(replace(part, accumulate=4))  # type: ignore[type-var]
    seen = [(p.tokens, p.events) for p in islice(model.fit(TRAIN, how), 2)]
    assert seen == [(320, (("doubling", 3),)), (640, (("doubling", 3),))]  # 4, 4 and 2 batches


# ---------------------------------------------------------------- precision


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_lower_precision_is_refused_without_a_graphics_card(
    precision: Literal["tf32", "bf16"],
) -> None:
    """On a CPU it is refused; the message says which device it needs."""
    with pytest.raises(ValueError, match=f"{precision!r} needs a graphics card"):
        next(made(replace(WINDOW, precision=precision)).fit(TRAIN, RECIPE))


def test_a_grid_with_bf16_on_a_cpu_is_refused(make_grid: Callable[..., Grid]) -> None:
    """The grid is refused before anything runs, even for one value of an axis."""
    asked = '[[models]]\nname = "rnn"\noptimizers = ["sgd"]\nprecision = ["single", "bf16"]\n'
    with pytest.raises(GridError, match=r"'rnn\[precision=bf16\]' runs only on cuda\*"):
        make_grid(asked)


def test_single_precision_runs_in_no_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only bf16 asks for it, of the device's kind and in bfloat16."""
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(torch, "autocast", lambda *how: asked.append(how))
    Computation().autocast(torch.device("cpu"))
    assert asked == []
    Computation(precision="bf16").autocast(torch.device("cuda", 1))
    assert asked == [("cuda", torch.bfloat16)]


@pytest.mark.parametrize(
    ("precision", "rounded"), [("single", False), ("tf32", True), ("bf16", False)]
)
def test_only_tf32_rounds_the_factors_of_float32(
    precision: Literal["single", "tf32", "bf16"], rounded: bool
) -> None:
    """Torch lets cuDNN's recurrent layers do so unless it is told otherwise."""
    cudnn, others = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, others.allow_tf32
    try:
        cudnn.allow_tf32 = others.allow_tf32 = not rounded
        Computation(precision=precision).select_products(torch.device("cpu"))
        assert (cudnn.allow_tf32, others.allow_tf32) == (not rounded, not rounded)
        Computation(precision=precision).select_products(torch.device("cuda", 0))
        assert (cudnn.allow_tf32, others.allow_tf32) == (rounded, rounded)
    finally:
        cudnn.allow_tf32, others.allow_tf32 = before


@CUDA
@pytest.mark.parametrize("precision", ["single", "tf32", "bf16"])
@pytest.mark.parametrize("part", [WINDOW, RNN], ids=["window", "rnn"])
def test_every_precision_learns_on_cuda(
    part: WindowPart | RnnPart, precision: Literal["single", "tf32", "bf16"]
) -> None:
    """Training lowers the loss, and the weights stay in single precision."""
    model = replace(part, precision=precision).make(replace(CONTEXT, device="cuda"))
    assert isinstance(model, NeuralModel)
    first, *_, last = islice(model.fit(TRAIN, RECIPE), 10)
    assert (last.train_nats or math.inf) < (first.train_nats or 0)
    assert {weight.dtype for weight in model.network.parameters()} == {torch.float32}


@CUDA
@pytest.mark.parametrize("jobs", [0, 1])
def test_a_grid_runs_on_cuda(make_grid: Callable[..., Grid], tmp_path: Path, jobs: int) -> None:
    """Also where nothing has used the device before, and its memory is measured."""
    asked = '[[models]]\nname = "rnn"\noptimizers = ["sgd"]\nbudget = { epochs = 1 }\n'
    asked += '[[kernels]]\nname = "recurrent-step"\n'
    grid, store = make_grid(asked, devices=("cuda",)), Store(tmp_path / "results")
    made, kernel = run_grid(grid, store, options=RunOptions(jobs=jobs))
    assert isinstance(kernel, KernelRecord), kernel
    assert isinstance(made, Record), made
    assert made.training.peak_bytes
    assert made.provenance.environment.accelerator


# ---------------------------------------------------------------- compilation


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, while it imports itself
def test_a_compiled_network_trains_alike_and_tells_what_compiling_took() -> None:
    """Losses agree; only the first steps report seconds of compilation."""
    plain = list(islice(made(WINDOW).fit(TRAIN, RECIPE), 4))
    compiled = list(islice(made(replace(WINDOW, compile=True)).fit(TRAIN, RECIPE), 4))
    for a, b in zip(plain, compiled, strict=True):
        assert a.train_nats == pytest.approx(b.train_nats, rel=1e-4)
    assert compiled[0].compile_seconds > 0.5
    assert compiled[-1].compile_seconds == 0
    assert [progress.compile_seconds for progress in plain] == [0] * 4


# ---------------------------------------------------------------- reporters


class Norms:
    """Records the norm of the gradients before and after regularizers."""

    def __init__(self) -> None:
        self.seen: list[tuple[bool, float]] = []

    def gradients(self, module: torch.nn.Module, *, updated: bool) -> None:
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        self.seen.append((updated, float(torch.nn.utils.get_total_norm(gradients))))

    def readings(self, model: LanguageModel, tokens: Tokens) -> Iterator[Reading]:
        yield from ()


class Doubling(TorchRegularizer):
    """Doubles each gradient."""

    def update(self, module: torch.nn.Module, rate: float) -> int:
        for weight in module.parameters():
            if weight.grad is not None:
                weight.grad.mul_(2)
        return 1


def test_reporters_look_before_and_after_regularizers() -> None:
    """Once each in every step."""
    norms = Norms()
    how = replace(RECIPE, regularizers=(Doubling(),), reporters=(norms,))
    next(made(WINDOW).fit(TRAIN, how))
    assert [updated for updated, _ in norms.seen] == [False, True] * 10
    before, after = (norm for _, norm in norms.seen[:2])
    assert after == pytest.approx(2 * before)


def test_a_loss_that_is_not_exact_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss of a sampled output layer is not reported, as it is not the mean of -ln p."""
    model = made(WINDOW)
    monkeypatch.setattr(model.network.output, "exact", False, raising=False)
    assert next(model.fit(TRAIN, RECIPE)).train_nats is None


# ---------------------------------------------------------------- averaging


@BOTH
def test_means_score_and_weights_train(part: ModelPart) -> None:
    """Training losses are those of plain sgd; each yield scores with the mean of its weights."""
    plain, averaged = made(part), made(part)
    how = replace(RECIPE, point_interval=1)
    mean = replace(how, optimizer=AsgdPart(lr=0.5, start_epoch=0).make(CONTEXT))
    pairs = zip(plain.fit(TRAIN, how), averaged.fit(TRAIN, mean), strict=False)
    total = torch.zeros_like(plain.network.output.get_parameter("weight"))
    for step, (one, two) in enumerate(islice(pairs, 15), start=1):
        assert one == two
        total += plain.network.output.get_parameter("weight").detach()
        scoring = averaged.network.output.get_parameter("weight").detach()
        torch.testing.assert_close(scoring, total / step, rtol=1e-4, atol=1e-6)


# ---------------------------------------------------------------- memory


def too_much() -> object:
    return torch.empty(2**46)


def on_a_card() -> object:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.mark.parametrize("ask", [too_much, on_a_card])
def test_a_lack_of_memory_is_a_memory_error(ask: Callable[[], object]) -> None:
    """Every allocator's error becomes MemoryError, with the original message."""
    with pytest.raises(MemoryError, match=r"allocate|out of memory"), memory_errors():
        ask()


def test_another_error_stays_what_it_is() -> None:
    """A wrong shape is not reported as a lack of memory."""
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), memory_errors():
        torch.ones(2, 3) @ torch.ones(2, 3)


def test_a_model_that_does_not_fit_is_a_memory_error() -> None:
    """MemoryError is raised in construction and in training."""
    with pytest.raises(MemoryError):
        WindowPart(embedding=2**22, hidden=2**22).make(CONTEXT)
