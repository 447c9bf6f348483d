"""Bodies of records that older versions wrote, brought to the form of today, schema by schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Body = dict[str, Any]


def _from_1(body: Body) -> Body:
    """Say by which rule its address is made; how often a cell was resumed is of its result."""
    resumed = body["circumstances"].pop("resumed", 0)
    body["inputs"]["rule"] = 1
    return body | {"resumed": resumed} if "points" in body else body


def _from_2(body: Body) -> Body:
    """Call ``circumstances`` what is called ``provenance`` today."""
    body["provenance"] = body.pop("circumstances")
    return body


# What brings a body of each schema to the next one; a step stays for as long as there are records.
STEPS: Mapping[int, Callable[[Body], Body]] = {1: _from_1, 2: _from_2}


def convert(body: Body, schema: int, wanted: int) -> Body:
    """Return a body of one schema as one of a later schema; KeyError for a schema never written."""
    for step in range(schema, wanted):
        body = STEPS[step](body)
    return body


def unknown_field(body: Any, known: Any, path: str = "") -> str:
    """Return the first field of a body that was passed over when it was read, or nothing.

    ``known`` is what was read of it, as plain values.
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
