"""Finds the plugins once, in the server that the processes of all cells are forked from."""

from __future__ import annotations

from lmgrid.worker import installed, search_path

installed(search_path())
