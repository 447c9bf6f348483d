"""A cell to its result: training, scoring, timing, and the models that are kept."""
