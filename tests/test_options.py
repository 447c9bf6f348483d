"""A part's options: checked as its types say, and each in its identity."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmgrid.grid import PartError
from lmgrid.plugin.options import check_types, describe_part, make_part, names_file, option_names


class Colour(Enum):
    RED = 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of each kind."""

    needed: int
    rate: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.5
    cell: Literal["elman", "lstm"] = "elman"
    path: Path | None = None
    shares: tuple[float, ...] = (0.5, 0.5)
    names: list[str] = field(default_factory=list)
    limit: int | None = None
    on: bool = False

    def __post_init__(self) -> None:
        if self.limit == self.needed:
            raise ValueError("limit must not be needed; take another")


def test_options_are_converted_as_their_types_say() -> None:
    """An integer serves as a float, a list as a tuple, a text as a path."""
    made = make_part(Options, {"needed": 1, "rate": 0, "path": "a/b.txt", "shares": [1, 2]})
    assert made == Options(needed=1, rate=0.0, path=Path("a/b.txt"), shares=(1.0, 2.0))
    assert isinstance(made.rate, float)


@pytest.mark.parametrize(
    ("options", "option", "message"),
    [
        ({"neded": 1}, "neded", "unknown option; did you mean 'needed'?"),
        ({}, "", "Object missing required field `needed`"),
        ({"needed": "1"}, "needed", "Expected `int`, got `str`"),
        ({"needed": True}, "needed", "Expected `int`, got `bool`"),
        ({"needed": 1.5}, "needed", "Expected `int`, got `float`"),
        ({"needed": 1, "rate": 1.0}, "rate", "Expected `float` < 1.0"),
        ({"needed": 1, "rate": float("nan")}, "rate", ""),
        ({"needed": 1, "cell": "gru"}, "cell", "Invalid enum value 'gru'"),
        ({"needed": 1, "path": 3}, "path", ""),
        ({"needed": 1, "path": "a\x00b"}, "path", "Expected the name of a file"),
        ({"needed": 1, "shares": ["x"]}, "shares", "Expected `float`, got `str`"),
        ({"needed": 1, "shares": 1.0}, "shares", "Expected `array`, got `float`"),
        ({"needed": 1, "on": 1}, "on", "Expected `bool`, got `int`"),
        ({"needed": 1, "limit": 1}, "", "limit must not be needed; take another"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], option: str, message: str) -> None:
    """The error says which option, and what is wrong with it, without a path of msgspec's."""
    with pytest.raises(PartError) as caught:
        make_part(Options, options)
    assert caught.value.option == option
    assert str(caught.value).startswith(message)
    assert "$" not in str(caught.value)


def test_every_option_is_in_the_identity() -> None:
    """Sorted by name, files apart, and what differs from its default is known."""
    part = describe_part("mine", make_part(Options, {"needed": 1, "path": "x", "on": True}))
    assert [name for name, _ in part.options] == sorted(set(option_names(Options)) - {"path"})
    assert part.files == (("path", "x"),)
    assert set(part.changed) == {"needed", "path", "on"}
    assert part.label == "mine[path=x,needed=1,on=true]"


def test_a_default_that_is_written_is_no_change() -> None:
    """Two spellings have one identity."""
    spelt = {"needed": 1, "rate": 0.5, "cell": "elman", "names": [], "shares": [0.5, 0.5]}
    one, two = (describe_part("m", make_part(Options, o)) for o in ({"needed": 1}, spelt))
    assert one == two
    assert hash(one) == hash(two)


@given(
    st.integers(-(2**40), 2**40),
    st.floats(0, 1, exclude_max=True),
    st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=4),
)
def test_an_identity_makes_the_part_again(needed: int, rate: float, shares: list[float]) -> None:
    """A worker process rebuilds what the grid described."""
    made = make_part(Options, {"needed": needed, "rate": rate, "shares": shares, "path": "p"})
    part = describe_part("m", made)
    again = make_part(Options, dict((*part.options, *part.files)))
    assert again == made
    assert describe_part("m", again) == part


@pytest.mark.parametrize("bad", [float("inf"), float("-inf"), float("nan")])
def test_a_number_without_end_has_no_identity(bad: float) -> None:
    """Neither alone nor inside a tuple; the option is named."""
    with pytest.raises(PartError, match="is not a finite number") as caught:
        describe_part("m", Options(needed=1, shares=(1.0, bad)))
    assert caught.value.option == "shares"


@dataclass(frozen=True)
class Odd:
    """Options that a grid cannot write."""

    value: Any = None


@pytest.mark.parametrize("value", [{"a": 1}, b"x", {1}, Colour.RED, [{"a": 1}]])
def test_a_value_of_another_kind_has_no_identity(value: Any) -> None:
    """A cell is made of numbers, texts and tuples of them, so that it can be hashed and kept."""
    with pytest.raises(PartError, match="which has no place in a grid"):
        describe_part("m", Odd(value))


def test_files_are_known_by_their_annotation() -> None:
    """A path, or a path that may be missing."""
    assert [name for name in option_names(Options) if names_file(Options, name)] == ["path"]


@dataclass(frozen=True)
class Unknown:
    """A type that is nowhere."""

    value: Nowhere = 1  # type: ignore[name-defined] # noqa: F821


@dataclass(frozen=True)
class Ambiguous:
    """A type that no text can be told to be."""

    value: set[int] | list[int] = field(default_factory=list)


@pytest.mark.parametrize("part", [Unknown, Ambiguous])
def test_types_that_cannot_be_read_are_found_early(part: type[Any]) -> None:
    """When the plugin is loaded, not when a grid first names the option."""
    with pytest.raises((NameError, TypeError)):
        check_types(part)


def test_types_that_can_be_read_are_let_through() -> None:
    """Literals, bounds, paths, tuples, lists, and what may be missing."""
    check_types(Options)
