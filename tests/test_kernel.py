"""A pair of loop and vectorised form: no times without proof that both compute the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmgrid.cell.kernel import compare, difference, distance
from lmgrid.machine.cpu import CpuPart
from lmgrid.result import KernelResult
from lmgrid.spec import Kernel, KernelPart

Twin = Callable[..., Any]


def sample(seed: int) -> tuple[Any, ...]:
    return (np.random.default_rng(seed).normal(size=20),)


def loop_square(x: Any) -> Any:
    return np.array([v * v for v in x])


def square(x: Any) -> Any:
    return x * x


TWINS: dict[str, tuple[Twin, float]] = {
    "equal": (square, 0.0),
    "near": (lambda x: x * x + 1e-9, 1e-6),
    "far": (lambda x: x * x + 1e-3, 1e-6),
    "exact": (lambda x: x * x + 1e-15, 0.0),
}


@dataclass(frozen=True)
class Pair(KernelPart):
    """Squares."""

    vector: str = "equal"

    def make(self, device: str) -> Kernel:
        vector, tolerance = TWINS[self.vector]
        return Kernel(loop_square, vector, sample, tolerance)


def record(vector: str) -> KernelResult:
    return compare(Pair(vector).make("cpu"), CpuPart().make(), "cpu")


@pytest.mark.parametrize("vector", ["equal", "near"])
def test_a_pair_that_agrees_is_timed(vector: str) -> None:
    """Within the tolerance, both have as many figures, all of them above zero."""
    found = record(vector)
    assert found.equal
    assert found.difference is not None
    assert found.difference <= found.tolerance
    assert len(found.loop_seconds) == len(found.vector_seconds) >= 3
    assert min(found.loop_seconds + found.vector_seconds) > 0


@pytest.mark.parametrize("vector", ["far", "exact"])
def test_a_pair_that_disagrees_has_no_times(vector: str) -> None:
    """Outside the tolerance there is a difference and nothing to make a speedup of."""
    found = record(vector)
    assert not found.equal
    assert found.difference is not None
    assert found.difference > found.tolerance
    assert found.loop_seconds == found.vector_seconds == ()


def test_a_twin_that_is_right_on_one_sample_only_is_found() -> None:
    """The twins are compared on samples from unlike seeds."""
    right = Kernel(lambda n: n, lambda n: 5, lambda seed: (seed,))
    assert difference(right, 5) == 0
    assert difference(right, 6) == 1


def double_in_place(x: Any) -> Any:
    x *= 2
    return x


def sort_in_place(x: Any) -> Any:
    middle = np.sort(x)[len(x) // 2]
    x.sort()
    x += 1
    return middle


@pytest.mark.parametrize(
    ("loop", "vector"),
    [
        (lambda x: 2 * x, double_in_place),
        (double_in_place, lambda x: 2 * x),
        (lambda x: np.sort(x)[len(x) // 2], sort_in_place),
    ],
    ids=["vector", "loop", "beside its result"],
)
def test_a_twin_that_changes_its_arguments_shows(loop: Twin, vector: Twin) -> None:
    """A second call on the same arguments, as timing makes, gives another answer."""
    assert difference(Kernel(loop, vector, sample), 0) > 0


def test_a_twin_cannot_spoil_the_others_arguments() -> None:
    """Each has arguments of its own, so that what one changes is not what the other reads."""
    shared: list[Any] = []

    def keep(x: Any) -> Any:
        shared.append(x)
        return x.sum()

    difference(Kernel(keep, keep, sample), 0)
    assert len({id(x) for x in shared}) == 2


# ---------------------------------------------------------------- how far results are apart


@pytest.mark.parametrize(
    ("one", "two", "apart"),
    [
        (np.array([1.0, 2.0]), np.array([1.0, 2.5]), 0.5),
        (np.array([2**53, 5]), np.array([2**53 + 1, 5]), 5e-324),
        (np.array([2**63 + 1], np.uint64), np.array([2**63], np.uint64), 5e-324),
        (10**30, 10**30, 0.0),
        (10**30, 10**30 + 1, math.inf),
        (np.zeros(3), np.zeros(4), math.inf),
        (np.zeros((2, 3)), np.zeros((3, 2)), math.inf),
        (np.zeros(()), np.zeros(1), math.inf),
        (np.array([np.nan]), np.array([np.nan]), math.inf),
        (np.array([1.0]), np.array([np.nan]), math.inf),
        (np.array([-np.inf, 1.0]), np.array([-np.inf, 1.5]), 0.5),
        (np.array([-np.inf]), np.array([np.inf]), math.inf),
        (np.array([-np.inf]), np.array([0.0]), math.inf),
        (np.array([1 + 1j]), np.array([1 - 1j]), 2.0),
        (np.array([True]), np.array([False]), 1.0),
        (np.array([1], np.int8), np.array([1.0]), 0.0),
        (["a", "b"], ["a", "b"], 0.0),
        (["a", "b"], ["a", "c"], math.inf),
        ((1, [2.0, 3.0]), (1, [2.0, 3.25]), 0.25),
        ((1, 2), (1,), math.inf),
        ((), (), 0.0),
        (np.zeros(0), np.zeros(0), 0.0),
        ({"a": 1}, {"a": 1}, 0.0),
        ({"a": 1}, {"a": 2}, math.inf),
    ],
)
def test_distance(one: Any, two: Any, apart: float) -> None:
    """The largest absolute difference, exact for integers; infinity where there is none."""
    assert distance(one, two) == apart
    assert distance(two, one) == apart


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1))
def test_integers_are_equal_or_not(one: int, two: int) -> None:
    """No two integers pass for one, however large."""
    assert (distance(np.array([one]), np.array([two])) == 0) == (one == two)


def test_a_tensor_is_read_as_an_array() -> None:
    """A result that carries a gradient compares by its values."""
    torch = pytest.importorskip("torch", reason="needs the extra lmgrid[torch]")
    one = torch.tensor([1.0, 2.0], requires_grad=True)
    assert distance(one, np.array([1.0, 2.5])) == 0.5
