"""A grid file to a Grid."""
