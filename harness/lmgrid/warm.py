"""What the processes of all cells need, done once in the server that they are forked from."""

from __future__ import annotations

import threadpoolctl as threadpoolctl

from lmgrid.environment import capture
from lmgrid.source import read_imports
from lmgrid.worker import installed, search_path

read_imports(p.part for plugin in installed(search_path()).plugins for p in plugin.provides)
capture()
