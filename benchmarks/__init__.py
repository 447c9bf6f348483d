"""Grids that ``lmgrid run NAME`` finds, and the scripts that measure lmgrid itself."""
