"""Counts to a back-off model, under each smoothing."""
