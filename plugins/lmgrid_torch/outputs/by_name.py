"""Constructs the output layer that the option ``output`` names."""

from __future__ import annotations

from lmgrid.spec import Context, derive_seed
from lmgrid_torch.outputs.adaptive import Adaptive
from lmgrid_torch.outputs.sampled import BlackOut, Noise, NoiseContrastive, SampledSoftmax
from lmgrid_torch.outputs.softmax import Softmax
from lmgrid_torch.parts import NeuralPart


def output_layer(options: NeuralPart, context: Context) -> Softmax | Adaptive:
    """Return the output layer for these options, its weights not yet initialised."""
    features, vocabulary = options.features, len(context.vocabulary)
    if options.output == "adaptive":
        return Adaptive(features, vocabulary, options.cutoffs, options.div_value)
    noise = Noise(options.samples, options.noise_power, derive_seed(context.seed, "samples"))
    if options.output == "sampled":
        return SampledSoftmax(features, vocabulary, noise)
    if options.output == "nce":
        return NoiseContrastive(features, vocabulary, noise, options.log_normaliser)
    if options.output == "blackout":
        return BlackOut(features, vocabulary, noise)
    return Softmax(features, vocabulary)
