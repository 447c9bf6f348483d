"""``python -m lmgrid``: the same as the command ``lmgrid``."""

from __future__ import annotations

from lmgrid.cli import main

if __name__ == "__main__":
    main(prog_name="lmgrid")
