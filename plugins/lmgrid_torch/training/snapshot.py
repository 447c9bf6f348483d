"""Packs nested tensors and numbers into named arrays and plain values, and unpacks them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmgrid.spec import State

Arrays = dict[str, NDArray[np.generic]]


def pack(value: Any, name: str, arrays: Arrays) -> Any:
    """Return ``value`` in a form for JSON, and add copies of its tensors to ``arrays``.

    ``value`` is a tensor, number, text, None or an ``lmgrid.spec.State``, or a tuple, list or
    mapping of such values. The names of the arrays begin with ``name``.

    >>> arrays = {}
    >>> packed = pack((torch.ones(2), 3), "state", arrays)
    >>> packed
    {'tuple': [{'array': 'state.0', 'type': 'float32'}, 3]}
    >>> unpack(packed, arrays)
    (tensor([1., 1.]), 3)
    """
    match value:
        case Tensor():
            # NumPy has no bfloat16
            plain = value.view(torch.int16) if value.dtype is torch.bfloat16 else value
            arrays[name] = plain.detach().cpu().numpy().copy()
            return {"array": name, "type": str(value.dtype).removeprefix("torch.")}
        case State():
            names = {key: f"{name}.{key}" for key in value.arrays}
            arrays.update({names[key]: array.copy() for key, array in value.arrays.items()})
            values = pack(value.values, name, arrays)
            return {"state": names, "values": values}
        case tuple():
            return {"tuple": pack(list(value), name, arrays)}
        case list():
            return [pack(part, f"{name}.{i}", arrays) for i, part in enumerate(value)]
        case Mapping():
            packed = {str(key): pack(part, f"{name}.{key}", arrays) for key, part in value.items()}
            return {"mapping": packed}
        case _:
            return value


def unpack(value: Any, arrays: Mapping[str, NDArray[np.generic]]) -> Any:
    """Return the value that was packed, with new tensors on the CPU; keys have become texts.

    The arrays of a ``State`` are copies.
    """
    match value:
        case {"array": name, "type": kind}:
            return torch.tensor(arrays[name]).view(getattr(torch, kind))
        case {"state": names, "values": values}:
            own = {key: arrays[name].copy() for key, name in names.items()}
            return State(own, unpack(values, arrays))
        case {"tuple": parts}:
            return tuple(unpack(parts, arrays))
        case {"mapping": parts}:
            return {key: unpack(part, arrays) for key, part in parts.items()}
        case list():
            return [unpack(part, arrays) for part in value]
        case _:
            return value


def packed(parts: Mapping[str, Any]) -> State:
    """Return these values, packed, as one state; ``unpacked`` returns them by name."""
    arrays: Arrays = {}
    values = {name: pack(part, name, arrays) for name, part in parts.items()}
    return State(arrays, values)


def unpacked(state: State, name: str) -> Any:
    """Return the value of this name in a state that ``packed`` returned."""
    return unpack(state.values[name], state.arrays)


def moved(value: Any, device: torch.device) -> Any:
    """Return a tensor, or nested tuples of tensors and None, on another device."""
    match value:
        case Tensor():
            return value.to(device)
        case tuple():
            return tuple(moved(part, device) for part in value)
        case _:
            return value


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return the state of an optimizer, and the plain settings of its parameter groups."""
    state = optimizer.state_dict()
    groups = [
        {key: value for key, value in group.items() if isinstance(value, (bool, int, float, str))}
        for group in state["param_groups"]
    ]
    return {"state": state["state"], "groups": groups}


def restore_optimizer(optimizer: torch.optim.Optimizer, kept: Mapping[str, Any]) -> None:
    """Load what ``optimizer_state`` returned into an optimizer of the same parameters."""
    groups = optimizer.state_dict()["param_groups"]
    merged = [{**group, **old} for group, old in zip(groups, kept["groups"], strict=True)]
    state = {int(number): parts for number, parts in kept["state"].items()}
    optimizer.load_state_dict({"state": state, "param_groups": merged})
