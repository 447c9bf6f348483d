"""Regularizers: dropout, penalties, and the places where they act."""
