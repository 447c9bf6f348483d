"""Makes the JSON schema of grid files, by which an editor completes and checks them."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias, get_type_hints

import msgspec

from lmgrid.grid import BLOCKS, KINDS, SETTINGS, TRAINING
from lmgrid.gridfile.axes import LARGEST_SEED, ONE_EPOCH
from lmgrid.plugin.options import default
from lmgrid.plugin.provided import ProvidedPart
from lmgrid.plugin.registry import Registry
from lmgrid.spec import ModelPart

Schema: TypeAlias = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
REFERENCE = "#/$defs/{name}"
NOTHING: Schema = {"not": {}}  # accepts no value
LIMITS = {
    "epochs": "Passes over the training text.",
    "tokens": "Training tokens.",
    "seconds": "Wall time of training in seconds, without scoring.",
    "cpu_seconds": "CPU time of training in seconds, without scoring.",
}


def grid_schema(registry: Registry) -> Schema:
    """Return the JSON schema, draft 2020-12, of grid files.

    It has every part of the registry, also one that needs an extra that is not installed. It
    accepts each file that ``read_grid`` accepts. It does not express rules about several keys, such
    as the sites of a model that a regularizer needs, so ``read_grid`` rejects more.

    >>> from lmgrid.plugin.registry import Registry
    >>> schema = grid_schema(Registry.installed())
    >>> schema["$defs"]["model.ngram"]["properties"]["smoothing"]["default"]
    'modified-kneser-ney'
    """
    described = _DescribedParts([p for kind in KINDS for p in registry.provided(kind)])
    blocks = {
        "corpora": "The texts on which each model is trained and scored.",
        "models": "The language models.",
        "kernels": "The kernels whose loop is timed against their vectorised form.",
    }
    return {
        "$schema": DIALECT,
        "title": "lmgrid grid file",
        "type": "object",
        "properties": {
            "title": {"type": "string", "description": "What the grid compares."},
            "takes": {"type": "string", "description": "About how long it takes, for a reader."},
            **{key: _reference(key) for key in (*SETTINGS, *TRAINING)},
            **{
                key: {"type": "array", "items": described.tables(kind), "description": blocks[key]}
                for key, kind in BLOCKS.items()
            },
            "exclude": {
                "type": "array",
                "items": described.exclusion(),
                "description": "The cells to leave out. Those that match every key of a block are.",
            },
        },
        "additionalProperties": False,
        "$defs": {
            **_settings(registry),
            **described.training(),
            "condition": _condition(),
            **described.definitions(),
        },
    }


# ---------------------------------------------------------------- values


def _reference(name: str) -> Schema:
    return {"$ref": REFERENCE.format(name=name)}


def _any_of(alternatives: Sequence[Schema]) -> Schema:
    """Return the schema of what any of some schemas accepts; of nothing, if there are none."""
    if not alternatives:
        return NOTHING
    return alternatives[0] if len(alternatives) == 1 else {"anyOf": [*alternatives]}


def _axis(value: Schema) -> Schema:
    """Return the schema of an axis: one value, or a list of values that is not empty.

    A value that is itself a list stands in a list, as the values of an axis.

    >>> _axis({"type": "integer"})["anyOf"]
    [{'type': 'integer'}, {'type': 'array', 'items': {'type': 'integer'}, 'minItems': 1}]
    """
    single = [v for v in value.get("anyOf", [value]) if v.get("type") != "array"]
    return _any_of([*single, {"type": "array", "items": value, "minItems": 1}])


def _condition() -> Schema:
    """Return the schema of the accepted values of an option in ``[[exclude]]``."""
    scalar = {"type": ["string", "number", "boolean"]}
    several = {"type": "array", "minItems": 1}
    return {"description": "The value that matches, or a list of them.", "anyOf": [scalar, several]}


# ---------------------------------------------------------------- settings


def _settings(registry: Registry) -> dict[str, Schema]:
    """Return the schemas of the settings, which the file and each model's block may have."""
    known = [p.name.partition("*")[0].rstrip(":") for p in registry.provided("device")]
    limits = {
        key: {
            "type": "integer" if key == "tokens" else "number",
            "exclusiveMinimum": 0,
            "description": description,
        }
        for key, description in LIMITS.items()
    }
    return {
        "seeds": {
            "description": "Seeds of the random numbers; models without randomness ignore them.",
            "default": 0,
            **_axis({"type": "integer", "minimum": 0, "maximum": LARGEST_SEED}),
        },
        "devices": {
            "description": "Devices to run on; auto is the fastest of this machine.",
            "default": "cpu",
            # The names are there to be completed; a device may have another, such as cuda:1.
            **_axis({"anyOf": [{"enum": ["auto", *known]}, {"type": "string", "minLength": 1}]}),
        },
        "threads": {
            "description": "CPU threads of a cell.",
            "default": 1,
            **_axis({"type": "integer", "minimum": 1, "maximum": LARGEST_SEED}),
        },
        "budget": {
            "description": "How long a model trains: until it reaches the first of these limits.",
            "default": ONE_EPOCH,
            "type": "object",
            "properties": limits,
            "additionalProperties": False,
        },
    }


# ---------------------------------------------------------------- parts


@dataclass(frozen=True)
class _Option:
    """The schema of one option of a part."""

    name: str
    schema: Schema
    is_required: bool


class _DescribedParts:
    """The schemas of parts, and of the places in a grid file that name them."""

    def __init__(self, parts: Iterable[ProvidedPart]) -> None:
        self._parts = tuple(parts)
        declared = [(part, field) for part in self._parts for field in fields(part.part)]
        hints = {part.part: get_type_hints(part.part, include_extras=True) for part in self._parts}
        # One call for the types of all options gives different types of one name different names.
        types, self._named_types = msgspec.json.schema_components(
            [hints[part.part][field.name] for part, field in declared],
            schema_hook=_schema_of_custom_type,
            ref_template=REFERENCE,
        )
        self._options: dict[ProvidedPart, list[_Option]] = {part: [] for part in self._parts}
        for (part, field), schema in zip(declared, types, strict=True):
            self._options[part].append(_option(field, schema))

    def definitions(self) -> Mapping[str, Schema]:
        """Return the schema of the table of each part, as ``kind.name``, and named types."""
        tables = {f"{part.kind}.{part.name}": self._table(part) for part in self._parts}
        return {**self._named_types, **tables}

    def tables(self, kind: str) -> Schema:
        """Return the schema of a table that is any part of a kind."""
        return _any_of([_reference(f"{p.kind}.{p.name}") for p in self._of_kind(kind)])

    def training(self) -> dict[str, Schema]:
        """Return the schemas of the keys of TRAINING."""
        together = {"type": "array", "items": self._names_or_tables("regularizer")}
        return {
            "optimizers": {
                "description": "Optimizers of the models that are trained by gradient.",
                "type": "array",
                "items": self._names_or_tables("optimizer"),
                "minItems": 1,
            },
            "regularizers": {
                "description": "Lists of regularizers that are used together; [] for none.",
                "type": "array",
                "items": together,
                "minItems": 1,
            },
            "reporters": {
                "description": "Reporters, which record figures during training.",
                "type": "array",
                "items": self._names_or_tables("reporter"),
                "minItems": 1,
            },
        }

    def exclusion(self) -> Schema:
        """Return the schema of a block ``[[exclude]]``."""
        # Collect the options of each kind and of each part's name, as in the keys of filters.
        options: dict[str, list[str]] = {}
        for part in self._parts:
            for head in (part.kind, part.name):
                options.setdefault(head, []).extend(o.name for o in self._options[part])
        # "rnn.hidden" is a key of its own; without the quotes TOML makes it a table in a table.
        condition = _reference("condition")
        quoted = {f"{head}.{option}": condition for head in options for option in options[head]}
        tables = {
            head: {
                "type": "object",
                "properties": dict.fromkeys(known, condition),
                "additionalProperties": False,
            }
            for head, known in options.items()
        }
        # A kind may have a name, several names, or such a table.
        kinds = {
            kind: {"anyOf": [_axis({"enum": self._filter_names(kind)}), tables.get(kind, NOTHING)]}
            for kind in KINDS
        }
        return {
            "type": "object",
            "properties": {
                "because": {"type": "string", "minLength": 1, "description": "The reason."},
                "seed": _axis({"type": "integer", "minimum": 0}),
                "device": _axis({"type": "string"}),
                "threads": _axis({"type": "integer", "minimum": 1}),
                **tables,
                **kinds,
                **quoted,
            },
            "required": ["because"],
            "minProperties": 2,
            "additionalProperties": False,
        }

    def _filter_names(self, kind: str) -> list[str]:
        """Return the names by which a filter may select cells by a kind of part."""
        absent = ["none"] if kind in ("optimizer", "regularizer", "reporter") else []
        return [*(part.name for part in self._of_kind(kind)), *absent]

    def _of_kind(self, kind: str) -> list[ProvidedPart]:
        return [part for part in self._parts if part.kind == kind]

    def _names_or_tables(self, kind: str) -> Schema:
        """Return the schema of a part given by its table, or by its name for its defaults."""
        complete = [
            part.name
            for part in self._of_kind(kind)
            if not any(option.is_required for option in self._options[part])
        ]
        return {"anyOf": [{"enum": complete}, self.tables(kind)]}

    def _table(self, part: ProvidedPart) -> Schema:
        options = self._options[part]
        settings = _effective_settings(part.part) if issubclass(part.part, ModelPart) else ()
        description = inspect.cleandoc(part.part.__doc__ or "")
        return {
            "title": f"{part.kind} {part.name}",
            "description": description,
            "type": "object",
            "properties": {
                "name": {"description": description.split("\n\n")[0], "const": part.name},
                **{option.name: option.schema for option in options},
                **{key: _reference(key) for key in settings},
            },
            "required": ["name", *(option.name for option in options if option.is_required)],
            "additionalProperties": False,
        }


def _effective_settings(model: type[ModelPart]) -> tuple[str, ...]:
    """Return the settings that a model's block may have.

    A property depends on the options, so it leaves the setting allowed. On a class it is an object,
    which is true as such.
    """
    by_gradient = bool(model.by_gradient)
    inherited = model.budgeted is ModelPart.budgeted  # the value of by_gradient
    budgeted = by_gradient if inherited else bool(model.budgeted)
    without_effect = {
        *(("seeds",) if model.deterministic is True else ()),
        *(() if by_gradient else TRAINING),
        *(() if budgeted else ("budget",)),
    }
    return tuple(key for key in (*SETTINGS, *TRAINING) if key not in without_effect)


def _option(field: Field[Any], schema: Schema) -> _Option:
    """Return an option, given the schema of its type.

    TOML has no null, so a grid file says None by leaving the option out.
    """
    alternatives = [s for s in schema.get("anyOf", [schema]) if s.get("type") != "null"]
    described = [s for s in (schema, *alternatives) if "description" in s]
    given = default(field)
    return _Option(
        name=field.name,
        schema={
            **({"description": described[0]["description"]} if described else {}),
            **({} if given is MISSING or given is None else {"default": _as_axis(given)}),
            **_axis(_any_of([_value(s) for s in alternatives])),
        },
        is_required=given is MISSING,
    )


def _value(schema: Schema) -> Schema:
    """Return the schema of a type without its description and without ``items: false``.

    Of a tuple ``maxItems`` says the same as ``items: false``. An editor that knows only older
    drafts ignores ``prefixItems`` and would then reject every item.
    """
    return {
        key: value
        for key, value in schema.items()
        if key != "description" and not (key == "items" and value is False)
    }


def _as_axis(given: Any) -> Any:
    """Return a default as a grid file would write it."""
    plain = msgspec.to_builtins(given, enc_hook=str)
    return [list(plain)] if isinstance(plain, (tuple, list)) else plain


def _schema_of_custom_type(kind: type[Any]) -> Schema:
    """Return the schema of a type that msgspec does not know; only Path can be in a grid file."""
    return {"type": "string", "minLength": 1} if kind is Path else NOTHING
