"""Laws of the store: a record is written once, whole or not at all, and damage is named."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from lmgrid.errors import UserError
from lmgrid.grid import Cell, KernelCell, Part
from lmgrid.machine.environment import Environment
from lmgrid.records.record import Failure, Inputs, KernelRecord, Provenance, RecordError
from lmgrid.records.recordfile import decode_outcome, encode_outcome
from lmgrid.records.store import Store, StoreError
from lmgrid.source.closure import Source

ENVIRONMENT = Environment("3.11.7", "Linux x86_64", "a processor", 2, (("numpy", "2.0"),))
CIRCUMSTANCES = Provenance(ENVIRONMENT, "2025-01-01T00:00:00+00:00", 1, 0.5)
CELL = Cell(
    Part("file", (("tokens", "word"),), (("train", "a.txt"),), ("train",)),
    Part("ngram", (("order", 3), ("delta", 0.5)), (), ("order",)),
    None,
    (),
    None,
    "cpu",
    1,
    None,
)
INPUTS = Inputs.of(CELL, corpus="c0", sources=(Source("lmgrid.text", "s0"),))
KERNEL = KernelRecord(
    inputs=Inputs.of(KernelCell(Part("sum"), "cpu", 1)),
    equal=True,
    difference=0.0,
    tolerance=0.0,
    loop_seconds=(1.0, 2.0, 3.0),
    vector_seconds=(0.5, 0.5, 0.5),
    provenance=CIRCUMSTANCES,
)
FAILURE = Failure(INPUTS, "error", "ValueError", "no", "trace", 1.0, CIRCUMSTANCES)


def test_an_address_never_moves() -> None:
    """Golden values: if one changes, every stored record is orphaned; then ADDRESS_RULE goes up."""
    assert INPUTS.address == "304b12a0dcb4d3efdb1d5e8341df5581"
    assert replace(INPUTS, rule=1).address == "031c55d995cfd71b4b2a1f9e399166ff"


@pytest.mark.parametrize(
    "change",
    [
        {"corpus": "c1"},
        {"sources": (Source("lmgrid.text", "s1"),)},
        {"cell": replace(CELL, seed=1)},
        {"cell": replace(CELL, threads=2)},
        {"cell": replace(CELL, model=Part("ngram", (("delta", 0.5), ("order", 4))))},
    ],
)
def test_what_decides_a_number_moves_the_address(change: dict[str, object]) -> None:
    """Corpus bytes, options, seed, threads and source are all part of the address."""
    assert replace(INPUTS, **change).address != INPUTS.address  # type: ignore[arg-type]


def test_the_name_of_a_file_does_not_move_the_address() -> None:
    """The bytes of a corpus count, not where they lie; nor which options were typed."""
    moved = replace(CELL.corpus, files=(("train", "elsewhere/b.txt"),), changed=())
    assert replace(INPUTS, cell=replace(CELL, corpus=moved)).address == INPUTS.address


@pytest.mark.parametrize("outcome", [KERNEL, FAILURE])
def test_an_outcome_survives_its_file(outcome: KernelRecord | Failure) -> None:
    """What was sealed is what is unsealed."""
    assert decode_outcome(encode_outcome(outcome), outcome.inputs.address) == outcome


def test_a_record_is_never_overwritten(tmp_path: Path) -> None:
    """The first record of an address stays, whoever comes later."""
    store = begun(tmp_path)
    store.add(KERNEL)
    store.add(replace(KERNEL, difference=9.0))
    assert store.find(KERNEL.inputs.address) == KERNEL


def test_a_failure_is_replaced_and_goes_with_success(tmp_path: Path) -> None:
    """A failure holds the last attempt's end, and is gone when a record is there."""
    store = begun(tmp_path)
    failure = replace(FAILURE, inputs=KERNEL.inputs)
    store.add(failure)
    store.add(replace(failure, message="again"))
    found = store.find(KERNEL.inputs.address)
    assert isinstance(found, Failure)
    assert found.message == "again"
    assert not store.has(KERNEL.inputs.address)
    store.add(KERNEL)
    assert list(store) == [KERNEL]
    assert list((tmp_path / "failures").iterdir()) == []


def test_a_failure_that_a_killed_worker_left_does_not_count(tmp_path: Path) -> None:
    """Killed between the link of its record and the end of its failure, a cell is done."""
    store = begun(tmp_path)
    store.add(KERNEL)
    left = tmp_path / "failures" / f"{KERNEL.inputs.address}.json"
    left.parent.mkdir()
    left.write_bytes(encode_outcome(replace(FAILURE, inputs=KERNEL.inputs)))
    assert list(store) == [KERNEL]
    assert store.count() == 1
    store.clean_up()
    assert not left.exists()


def test_opening_a_store_writes_nothing(tmp_path: Path) -> None:
    """Looking into a folder that is not there makes none."""
    store = Store(tmp_path / "none")
    assert not store.has("x")
    assert list(store) == []
    assert not (tmp_path / "none").exists()


def test_no_draft_is_left_and_none_is_read(tmp_path: Path) -> None:
    """A temporary file of a run that died is no record."""
    store = begun(tmp_path)
    store.add(KERNEL)
    (tmp_path / "records" / ".draft-x.json").write_text("torn")
    assert list(store) == [KERNEL]
    assert [p.name for p in (tmp_path / "records").glob("[!.]*")] == [
        f"{KERNEL.inputs.address}.json"
    ]


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_a_torn_record_is_named(tmp_path: Path, cut: int) -> None:
    """A truncated file is an error with its name, and ``damages`` finds it."""
    store = begun(tmp_path)
    store.add(KERNEL)
    path = next((tmp_path / "records").iterdir())
    path.write_bytes(path.read_bytes()[:cut])
    assert [damage.path for damage in store.verify()] == [path]
    with pytest.raises(RecordError, match=path.name):
        list(store)


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    """No single altered byte of a record goes unnoticed by ``damages``."""
    store = begun(tmp_path)
    store.add(KERNEL)
    path = next((tmp_path / "records").iterdir())
    whole = path.read_bytes()
    unnoticed = []
    for i in range(len(whole)):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :])
        if not list(store.verify()):
            unnoticed.append((i, whole[max(0, i - 20) : i + 5]))
    assert unnoticed == []


def test_a_record_in_another_place_is_found(tmp_path: Path) -> None:
    """A record under another address is damage, so that no cell gets another's numbers."""
    store = begun(tmp_path)
    store.add(KERNEL)
    path = next((tmp_path / "records").iterdir())
    path.rename(path.with_name(f"{'0' * 32}.json"))
    (damage,) = store.verify()
    assert KERNEL.inputs.address in damage.reason


def with_weights(folder: Path) -> Store:
    """Return a store that has kept a model."""
    store = begun(folder)
    with store.weights_draft("a1") as draft:
        draft.mkdir()
        (draft / "weights").write_bytes(b"1234")
        store.keep_weights("a1", draft)
    return store


def test_kept_weights_have_their_hashes(tmp_path: Path) -> None:
    """A model's file that was altered or lost is damage."""
    store = with_weights(tmp_path)
    assert list(store.verify()) == []
    weights = store.model_folder("a1") / "weights"
    weights.write_bytes(b"1235")
    (damage,) = store.verify()
    assert damage.path == weights
    weights.unlink()
    (damage,) = store.verify()
    assert "missing" in damage.reason


def test_weights_that_are_not_kept_leave_nothing(tmp_path: Path) -> None:
    """A draft that nobody asked to keep, as when training raised, is gone."""
    store = begun(tmp_path)
    with store.weights_draft("a1") as draft:
        draft.mkdir()
        (draft / "weights").write_bytes(b"1234")
    assert list((tmp_path / "drafts").iterdir()) == []


def test_the_lock_sweeps_what_a_dead_run_left(tmp_path: Path) -> None:
    """Drafts of the cell that is locked are gone, those of others stay."""
    store, drafts = begun(tmp_path), tmp_path / "drafts"
    (drafts / "a1-x").mkdir(parents=True)
    (drafts / "b2-x").mkdir()
    (drafts / "a1-y").write_text("half")
    with store.lock("a1"):
        assert [path.name for path in drafts.iterdir()] == ["b2-x"]


def test_sweeping_leaves_running_and_unfinished_cells_alone(tmp_path: Path) -> None:
    """What dead runs left of finished cells goes; a locked cell, and a half-trained one, stay."""
    store, done = begun(tmp_path), KERNEL.inputs.address
    store.add(KERNEL)
    for address in (done, "b2"):
        (tmp_path / "checkpoints" / address).mkdir(parents=True)
    with store.lock(done):
        (tmp_path / "drafts" / f"{done}-y").write_text("being written")
        store.clean_up()
        assert len(list((tmp_path / "drafts").iterdir())) == 1
    store.clean_up()
    assert list((tmp_path / "drafts").iterdir()) == []
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["b2"]


def test_a_superseded_record_is_kept_aside(tmp_path: Path) -> None:
    """The new record has the address, the old one lies in ``superseded``, both whole."""
    store, newer = begun(tmp_path), replace(KERNEL, difference=0.5)
    store.add(KERNEL)
    store.replace_record(newer)
    assert list(store) == [newer]
    (kept,) = (tmp_path / "superseded").iterdir()
    assert decode_outcome(kept.read_bytes(), KERNEL.inputs.address) == KERNEL
    assert list(store.verify()) == []
    kept.write_bytes(kept.read_bytes()[:-9])
    assert [damage.path for damage in store.verify()] == [kept]


def test_a_name_of_a_manifest_cannot_leave_the_folder(tmp_path: Path) -> None:
    """What a manifest names is looked for inside the model's folder alone."""
    (tmp_path / "secret").write_text("x")
    folder = tmp_path / "store" / "models" / "a1"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text('{"../../../secret": "00"}')
    (damage,) = Store(tmp_path / "store").verify()
    assert damage.path == folder / "secret"


def test_a_full_disk_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOSPC is told with the folder, leaves no draft, and what was finished is intact."""
    store = begun(tmp_path)
    store.add(KERNEL)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"No space left on device.*intact"):
        store.add(FAILURE)
    assert list(store) == [KERNEL]
    assert list((tmp_path / "failures").iterdir()) == []


def test_a_file_where_the_folder_should_be_is_a_mistake(tmp_path: Path) -> None:
    """A results folder that cannot be made is told as such."""
    (tmp_path / "results").write_text("")
    with pytest.raises(UserError, match="cannot keep results here"):
        Store(tmp_path / "results").create()


def test_a_beginning_of_an_address_finds_its_record(tmp_path: Path) -> None:
    """Every record whose address starts so is found, failures are not."""
    store = begun(tmp_path)
    store.add(KERNEL)
    store.add(FAILURE)
    address = KERNEL.inputs.address
    assert store.addresses_with_prefix(address[:6]) == [address]
    assert store.addresses_with_prefix("") == [address]
    assert store.count() == 2


def begun(folder: Path) -> Store:
    """Return a store that can be written to."""
    store = Store(folder)
    store.create()
    return store


def test_a_folder_that_vanishes_before_its_lock_is_not_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What takes the lock makes the folders of its file; these are gone again."""
    store = begun(tmp_path / "results")
    acquire = FileLock.acquire

    def late(lock: FileLock, *arguments: Any, **options: Any) -> Any:
        store.root.rename(tmp_path / "away")
        return acquire(lock, *arguments, **options)

    monkeypatch.setattr(FileLock, "acquire", late)
    with pytest.raises(StoreError, match="was taken away"), store.lock("a1"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["away"]


def test_a_damaged_failure_counts_as_none(tmp_path: Path) -> None:
    """Its cell is simply tried again; verify names the file."""
    store = begun(tmp_path)
    store.add(FAILURE)
    path = tmp_path / "failures" / f"{FAILURE.inputs.address}.json"
    path.write_bytes(path.read_bytes()[:-9])
    assert store.find(FAILURE.inputs.address) is None
    assert list(store) == []
    assert [damage.path for damage in store.verify()] == [path]


def test_a_file_that_is_no_part_of_a_model_is_damage(tmp_path: Path) -> None:
    """What the manifest does not name was put there by somebody else."""
    store = with_weights(tmp_path)
    (store.model_folder("a1") / "more").write_text("x")
    (damage,) = store.verify()
    assert damage.reason == "is not in the manifest of its model"
