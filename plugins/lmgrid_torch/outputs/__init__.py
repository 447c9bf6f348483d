"""Output layers: the full softmax, the adaptive softmax and sampled losses."""
