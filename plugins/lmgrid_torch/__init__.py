"""Training by gradient in PyTorch: the loop, its optimizers, its regularizers, its devices."""

from __future__ import annotations

from collections.abc import Mapping

from lmgrid.spec import DevicePart, OptimizerPart, RegularizerPart, hookimpl
from lmgrid_torch.devices import parts as device_parts
from lmgrid_torch.optimizers import parts as optimizer_parts
from lmgrid_torch.regularizers import parts as regularizer_parts


@hookimpl
def lmgrid_optimizers() -> Mapping[str, type[OptimizerPart]]:
    return {
        "sgd": optimizer_parts.Sgd,
        "asgd": optimizer_parts.Asgd,
        "adagrad": optimizer_parts.Adagrad,
        "rmsprop": optimizer_parts.RmsProp,
        "adam": optimizer_parts.Adam,
        "adamw": optimizer_parts.AdamW,
        "nadamw": optimizer_parts.NAdamW,
    }


@hookimpl
def lmgrid_regularizers() -> Mapping[str, type[RegularizerPart]]:
    return {
        "dropout": regularizer_parts.Dropout,
        "variational-dropout": regularizer_parts.VariationalDropout,
        "embedding-dropout": regularizer_parts.EmbeddingDropout,
        "weight-drop": regularizer_parts.WeightDrop,
        "l1": regularizer_parts.L1,
        "l2": regularizer_parts.L2,
        "activation": regularizer_parts.Activation,
        "temporal-activation": regularizer_parts.TemporalActivation,
        "label-smoothing": regularizer_parts.LabelSmoothing,
        "clip": regularizer_parts.Clip,
        "weight-decay": regularizer_parts.WeightDecay,
    }


@hookimpl
def lmgrid_devices() -> Mapping[str, type[DevicePart]]:
    return {"cuda*": device_parts.Cuda, "mps": device_parts.Mps}
