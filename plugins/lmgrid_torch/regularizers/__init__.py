"""Regularizers: dropout, penalties, and the sites of a network where they act."""
