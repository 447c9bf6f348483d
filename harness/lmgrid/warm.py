"""What the processes of all cells need, done once in the server that they are forked from."""

from __future__ import annotations

import threadpoolctl as threadpoolctl

from lmgrid.environment import capture
from lmgrid.worker import installed, search_path

installed(search_path())
capture()
