"""Laws of a folder that cannot be written to or was altered: one message, and nothing lost."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep

import pytest
from click.testing import CliRunner
from crash_harness import CrashHarness, plan_addresses, small_cells, start_run

from lmgrid.cli import main
from lmgrid.plugin.registry import Registry
from lmgrid.records.store import Store

pytest.importorskip("safetensors", reason="checkpoints need the extra lmgrid[torch]")


def test_a_full_disk_is_one_message(crash_harness: CrashHarness, registry: Registry) -> None:
    """ENOSPC ends the run with what was finished intact; the next run goes on."""
    addresses = plan_addresses(crash_harness, registry, small_cells(4))
    full = CrashHarness(crash_harness.folder, spoil="full")
    ended = full.run()
    assert ended.returncode == 2
    assert "No space left on device; what was finished is intact" in full.said
    assert "Traceback" not in full.said
    assert len(list(full.store)) == 2
    assert list(full.store.verify()) == []
    assert crash_harness.run("", "-q").returncode == 0
    assert {o.inputs.address for o in crash_harness.store} == addresses


def test_a_full_file_system_is_one_message(crash_harness: CrashHarness, registry: Registry) -> None:
    """The same on a file system that is really full, where one may be mounted."""
    plan_addresses(crash_harness, registry, small_cells(12))
    with file_system(crash_harness.folder / "results", "size=48k"):
        ended = crash_harness.run("", "-q", "--discard-models")
        assert ended.returncode == 2
        assert "No space left on device" in crash_harness.said
        assert "Traceback" not in crash_harness.said
        assert list(crash_harness.store.verify()) == []
        assert list(crash_harness.store) != []


@contextmanager
def file_system(folder: Path, options: str) -> Iterator[None]:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("no file system may be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_read_only_folder_is_one_message(crash_harness: CrashHarness, registry: Registry) -> None:
    """Nothing is begun where nothing can be written; what is recorded can still be shown."""
    addresses = plan_addresses(crash_harness, registry, small_cells(2))
    results = crash_harness.folder / "results"
    with file_system(results, "size=4m"):
        assert crash_harness.run("", "-q", "--only", "counts.prior=1.0").returncode == 0
        subprocess.run(["mount", "-o", "remount,ro", str(results)], check=True)
        assert crash_harness.run("", "-q").returncode == 2
        assert "results: cannot keep results here: Read-only file system" in crash_harness.said
        assert "Traceback" not in crash_harness.said
        assert len([line for line in crash_harness.log if line.startswith("begin")]) == 1
        shown = CliRunner().invoke(
            main, ["tables", str(results), "--output", str(crash_harness.folder)]
        )
        assert shown.exit_code == 0, shown.output
        subprocess.run(["mount", "-o", "remount,rw", str(results)], check=True)
        assert crash_harness.run("", "-q").returncode == 0
        assert {o.inputs.address for o in crash_harness.store} == addresses


def test_a_folder_that_vanishes_is_one_message(
    crash_harness: CrashHarness, registry: Registry
) -> None:
    """It is not made anew: what was finished is where it went, and put back the run goes on."""
    addresses = plan_addresses(crash_harness, registry, small_cells(20))
    results, away = crash_harness.folder / "results", crash_harness.folder / "away"
    (crash_harness.folder / "crashes").mkdir()
    process = start_run(crash_harness.folder, "", "", "-q")
    while not any(line.startswith("done") for line in crash_harness.log):
        sleep(0.02)
    results.rename(away)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 2, said
    assert "the results folder was taken away; put it back" in said
    assert "Traceback" not in said
    assert not results.exists()
    assert list(Store(away)) != []
    away.rename(results)
    assert crash_harness.run("", "-q").returncode == 0
    assert {o.inputs.address for o in crash_harness.store} == addresses
    assert list(crash_harness.violations()) == []


def test_damage_is_reported_by_verify(crash_harness: CrashHarness, registry: Registry) -> None:
    """A record that is cut short and one with a flipped bit are both named."""
    plan_addresses(crash_harness, registry, small_cells(3))
    crash_harness.run("", "-q", "-j", "0")
    cut, flipped, whole = sorted((crash_harness.folder / "results" / "records").iterdir())
    cut.write_bytes(cut.read_bytes()[:-9])
    data = bytearray(flipped.read_bytes())
    data[len(data) // 2] ^= 4
    flipped.write_bytes(data)
    result = CliRunner().invoke(main, ["verify", str(crash_harness.store.root)])
    assert result.exit_code == 1
    assert [path.name in result.stdout for path in (cut, flipped, whole)] == [True, True, False]


def test_damage_is_told_before_anything_is_run(
    crash_harness: CrashHarness, registry: Registry
) -> None:
    """Not after the night; with the file gone, the run makes it again."""
    addresses = plan_addresses(crash_harness, registry, small_cells(3))
    crash_harness.run("", "-q", "--only", "counts.prior=1.0")
    (torn,) = (crash_harness.folder / "results" / "records").iterdir()
    torn.write_bytes(torn.read_bytes()[:-9])
    assert crash_harness.run("", "-q").returncode == 2
    assert torn.name in crash_harness.said
    assert len([line for line in crash_harness.log if line.startswith("begin")]) == 1
    torn.unlink()
    assert crash_harness.run("", "-q").returncode == 0
    assert {o.inputs.address for o in crash_harness.store} == addresses
