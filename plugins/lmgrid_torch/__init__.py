"""Training by gradient in PyTorch: the loop, its optimizers, its regularizers, its devices."""

from __future__ import annotations

from collections.abc import Mapping

from lmgrid.spec import DevicePart, OptimizerPart, RegularizerPart, hookimpl
from lmgrid_torch import parts


@hookimpl
def lmgrid_optimizers() -> Mapping[str, type[OptimizerPart]]:
    return {
        "sgd": parts.Sgd,
        "adagrad": parts.Adagrad,
        "rmsprop": parts.RmsProp,
        "adam": parts.Adam,
        "adamw": parts.AdamW,
        "nadamw": parts.NAdamW,
    }


@hookimpl
def lmgrid_regularizers() -> Mapping[str, type[RegularizerPart]]:
    return {"dropout": parts.Dropout, "l2": parts.L2, "clip": parts.Clip}


@hookimpl
def lmgrid_devices() -> Mapping[str, type[DevicePart]]:
    return {"cuda*": parts.Cuda, "mps": parts.Mps}
