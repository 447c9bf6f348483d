"""Training by gradient descent in PyTorch: optimizers, regularizers and devices."""

from __future__ import annotations

from collections.abc import Mapping

from lmgrid.spec import DevicePart, OptimizerPart, RegularizerPart, hookimpl
from lmgrid_torch.devices import parts as device_parts
from lmgrid_torch.optimizers import parts as optimizer_parts
from lmgrid_torch.regularizers import parts as regularizer_parts


@hookimpl
def lmgrid_optimizers() -> Mapping[str, type[OptimizerPart]]:
    return {
        "sgd": optimizer_parts.SgdPart,
        "asgd": optimizer_parts.AsgdPart,
        "adagrad": optimizer_parts.AdagradPart,
        "rmsprop": optimizer_parts.RmsPropPart,
        "adam": optimizer_parts.AdamPart,
        "adamw": optimizer_parts.AdamWPart,
        "nadamw": optimizer_parts.NAdamWPart,
    }


@hookimpl
def lmgrid_regularizers() -> Mapping[str, type[RegularizerPart]]:
    return {
        "dropout": regularizer_parts.DropoutPart,
        "variational-dropout": regularizer_parts.VariationalDropoutPart,
        "embedding-dropout": regularizer_parts.EmbeddingDropoutPart,
        "weight-drop": regularizer_parts.WeightDropPart,
        "l1": regularizer_parts.L1Part,
        "l2": regularizer_parts.L2Part,
        "activation": regularizer_parts.ActivationPart,
        "temporal-activation": regularizer_parts.TemporalActivationPart,
        "label-smoothing": regularizer_parts.LabelSmoothingPart,
        "clip": regularizer_parts.ClipPart,
        "weight-decay": regularizer_parts.WeightDecayPart,
    }


@hookimpl
def lmgrid_devices() -> Mapping[str, type[DevicePart]]:
    return {"cuda*": device_parts.CudaPart, "mps": device_parts.MpsPart}
