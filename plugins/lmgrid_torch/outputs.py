"""Output layers by name."""

from __future__ import annotations

from lmgrid.spec import Context
from lmgrid_torch.adaptive import Adaptive
from lmgrid_torch.output import Output, Softmax
from lmgrid_torch.parts import NeuralPart


def output_layer(options: NeuralPart, context: Context) -> Output:
    """Return the output layer that the options ask for, its weights not yet drawn."""
    features, vocabulary = options.features, len(context.vocabulary)
    if options.output == "adaptive":
        return Adaptive(features, vocabulary, options.cutoffs, options.div_value)
    return Softmax(features, vocabulary)
