"""Output layers: softmax and what stands in for it."""
