"""What the processes of all cells need, done once in the server that they are forked from.

Nothing here may end the server: what fails is left to the worker that needs it, which can say so.
"""

from __future__ import annotations

import os
from contextlib import suppress
from importlib import import_module

from lmgrid.environment import capture
from lmgrid.source import read_imports
from lmgrid.worker import PRELOAD, installed, search_path

for _name in ("threadpoolctl", *os.environ.get(PRELOAD, "").split()):
    with suppress(Exception, SystemExit):
        import_module(_name)
for _plugin in installed(search_path()).plugins:
    with suppress(Exception):  # a source that cannot be read
        read_imports(provided.part for provided in _plugin.provides)
with suppress(Exception):
    capture()
