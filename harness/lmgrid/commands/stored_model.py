"""Finds the stored model that ``generate`` and ``predict`` are asked to use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lmgrid.commands.options import RUNS
from lmgrid.errors import UserError

if TYPE_CHECKING:
    from lmgrid.cell.inference import StoredModel


def load(record: str, results: Path | None) -> StoredModel:
    """Return the stored model of a record, given the file or the beginning of its address.

    Raises UserError if there is no such record, if several match, or if no model was kept.
    """
    from lmgrid.cell.inference import load_model
    from lmgrid.plugin.registry import Registry
    from lmgrid.records.record import Record
    from lmgrid.records.store import Store

    folder, address = _locate(record, results)
    found = Store(folder).find(address)
    if not isinstance(found, Record):
        raise UserError(f"{record}: is not the record of a model")
    return load_model(Store(folder), found, Registry.installed())


def _locate(record: str, results: Path | None) -> tuple[Path, str]:
    """Return the results folder and the address of a record, given its file or a beginning."""
    from lmgrid.records.store import Store

    path = Path(record)
    if path.suffix == ".json":
        if not path.is_file():
            raise UserError(f"{record}: there is no such file")
        return path.parent.parent, path.stem
    folders = [results] if results else sorted(RUNS.glob("*"))
    found = [(folder, a) for folder in folders for a in Store(folder).addresses_with_prefix(record)]
    where = results or RUNS
    if not record or not found:
        raise UserError(f"{record!r}: no record in {where} has an address that starts so")
    if len(found) > 1:
        some = ", ".join(f"{folder}: {address[:12]}" for folder, address in found[:4])
        raise UserError(f"{record!r}: {len(found)} records have an address that starts so: {some}")
    return found[0]
