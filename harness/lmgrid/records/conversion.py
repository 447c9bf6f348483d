"""Converts the bodies of records that older versions wrote to the current schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Body = dict[str, Any]  # a decoded JSON object


def _from_1(body: Body) -> Body:
    """Add the address rule to the inputs, and move ``resumed`` to the result."""
    resumed = body["circumstances"].pop("resumed", 0)
    body["inputs"]["rule"] = 1
    return body | {"resumed": resumed} if "points" in body else body


def _from_2(body: Body) -> Body:
    """Rename ``circumstances`` to ``provenance``."""
    body["provenance"] = body.pop("circumstances")
    return body


# By schema, the conversion to the next schema. One may go once no record has its schema.
STEPS: Mapping[int, Callable[[Body], Body]] = {1: _from_1, 2: _from_2}


def convert(body: Body, schema: int, wanted: int) -> Body:
    """Return a body of one schema in a later schema. Raises KeyError for an unknown schema."""
    for step in range(schema, wanted):
        body = STEPS[step](body)
    return body


def unknown_field(body: object, known: object, path: str = "") -> str:
    """Return the path of the first field of a body that was ignored when it was read, or "".

    ``known`` is what was read of the body, as plain values; ``path`` is the place of the body.

    >>> unknown_field({"a": [{"b": 1, "c": 2}]}, {"a": [{"b": 1}]})
    'a.c'
    """
    if isinstance(body, dict) and isinstance(known, dict):
        for key, value in body.items():
            if key not in known:
                return f"{path}{key}"
            if found := unknown_field(value, known[key], f"{path}{key}."):
                return found
    elif isinstance(body, list) and isinstance(known, (list, tuple)):
        for value, read in zip(body, known, strict=False):
            if found := unknown_field(value, read, path):
                return found
    return ""
