"""A published number is shown to be that of today's code, or said not to be."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lmgrid.cell.runner import Replay
from lmgrid.execution.replay import COUNTING_TOLERANCE, STEP_TOLERANCES, Replayed, compare, renewed
from lmgrid.grid import Cell, Part
from lmgrid.machine.environment import Environment
from lmgrid.records.record import Inputs, Provenance, Record, RecordError
from lmgrid.records.recordfile import encode_outcome
from lmgrid.records.store import Store
from lmgrid.result import CorpusSize, Point, Score, Training
from lmgrid.spec import Reading

FAULTS = Path(__file__).parent / "faults"
GRID = """
seeds  = [0]
budget = { epochs = 3 }
[[corpora]]
name = "tiny"
[[models]]
name = "learner"
"""
COUNTING = '\n[[models]]\nname = "counts"\n[[kernels]]\nname = "sum"\n'
RENAMED = ("order = self", "sequence = self"), ("array_split(order,", "array_split(sequence,")


class Folder:
    """A folder with a plugin of its own, a grid and its results, and what is typed there."""

    def __init__(self, root: Path) -> None:
        self.root, self.site, self.results = root, root / "site", root / "results"
        root.mkdir()
        shutil.copytree(FAULTS, self.site, ignore=shutil.ignore_patterns("__pycache__"))

    def type(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        paths = [str(self.site), *(p for p in sys.path if p and p != str(FAULTS))]
        env = os.environ | {
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONDONTWRITEBYTECODE": "1",
            "LMGRID_CACHE": str(self.root / "cache"),
        }
        command = [sys.executable, "-m", "lmgrid", *arguments]
        return subprocess.run(
            command, cwd=self.root, env=env, capture_output=True, text=True, timeout=100
        )

    def run(self, grid: str = GRID) -> None:
        (self.root / "my.toml").write_text(grid)
        done = self.type("run", "my.toml", "--results", "results", "-q")
        assert done.returncode == 0, done.stderr

    def replay(self, *options: str) -> tuple[int, list[dict[str, str]]]:
        """Return the exit status, and what is said of each record."""
        done = self.type("replay", "results", "--json", *options)
        assert done.returncode in (0, 1), done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, json.loads(done.stdout)

    def edit(self, *changes: tuple[str, str]) -> None:
        path = self.site / "lmgrid_faults.py"
        text = path.read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path.write_text(text)

    @property
    def store(self) -> Store:
        return Store(self.results)

    def left_to_run(self) -> int:
        done = self.type("plan", "my.toml", "--results", "results", "--json")
        return sum(not cell["recorded"] for cell in json.loads(done.stdout)["cells"])


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "work")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the grid was run once, for tests that copy it."""
    folder = Folder(tmp_path_factory.mktemp("made") / "work")
    folder.run(GRID + COUNTING)
    return folder.root


@pytest.fixture
def ran(made: Path, folder: Folder) -> Folder:
    """A folder with the results of the whole grid."""
    shutil.copytree(made, folder.root, dirs_exist_ok=True)
    return folder


def test_a_cell_replays_to_the_bit(ran: Folder) -> None:
    """A network, a counting model and a kernel, each as far as it can be held."""
    status, said = ran.replay()
    assert status == 0
    assert {(one["cell"].split()[0], one["up_to"]) for one in said} == {
        ("learner", "all 3 points, valid and test"),
        ("counts", "valid and test"),
        ("kernel", "whether both forms agree"),
    }
    assert {one["result"] for one in said} == {"equal"}
    assert all(one["today"] == one["address"] for one in said)


def test_a_budget_of_seconds_is_replayed_by_tokens(folder: Folder) -> None:
    """The clock of that day decides nothing: each point is scored where the record has it."""
    folder.run(GRID.replace("epochs = 3", "seconds = 0.02"))
    (record,) = (outcome for outcome in folder.store if isinstance(outcome, Record))
    assert len(record.points) > 1
    _, (said,) = folder.replay()
    assert (said["result"], said["up_to"]) == (
        "equal",
        f"all {len(record.points)} points, valid and test",
    )


def test_an_edit_that_changes_no_number_is_renewed(ran: Folder) -> None:
    """The record gets today's address and keeps the old one; its weights come along."""
    before = {o.inputs.address: o for o in ran.store if isinstance(o, Record)}
    ran.edit(*RENAMED)
    assert ran.left_to_run() == 3  # the kernel's too: it is in the same module
    status, said = ran.replay("--renew")
    assert status == 0
    assert ran.left_to_run() == 1  # a kernel's number is its time
    for record in (o for o in ran.store if isinstance(o, Record)):
        (old,) = record.earlier
        assert record.test == before[old].test
        assert ran.store.model_folder(record.inputs.address).is_dir()
        assert not ran.store.has(old)
    assert list(ran.store.verify()) == []
    assert len(said) == 3
    again, said = ran.replay("--renew")  # what is current is not run again
    assert (again, [one["cell"].split()[0] for one in said]) == (0, ["kernel"])
    published = next(iter(before))
    assert (
        len(ran.store.addresses_with_prefix(published[:12])) == 1
    )  # found by the address that it had


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("logs = self._logs()[tokens]", "logs = self._logs()[tokens] - 1e-12", "point 1"),
        ("/ len(words) * slope", "/ len(words) * slope * (1 + (self._epoch > 0))", "point 2"),
        ("default_rng([self._seed, ", "default_rng([self._seed + 1, ", "point 1"),
    ],
    ids=["scorer", "schedule", "seed"],
)
def test_what_is_broken_is_unequal_and_renewed_by_nothing(
    ran: Folder, old: str, new: str, where: str
) -> None:
    """A scorer, a step after the first point, another order of the data."""
    addresses = {o.inputs.address for o in ran.store}
    ran.edit((old, new))
    status, said = ran.replay("--renew", "--only", "model=learner", "--only", "model=counts")
    assert status == 1
    unequal = [one for one in said if one["result"] == "unequal"]
    assert len(unequal) == 1
    assert unequal[0]["why"].startswith(where)
    assert unequal[0]["address"] in addresses & {o.inputs.address for o in ran.store}


def test_a_shorter_replay_renews_nothing(ran: Folder) -> None:
    """The first point is equal where a schedule is broken after it."""
    ran.edit(("/ len(words) * slope", "/ len(words) * slope * (1 + (self._epoch > 0))"))
    status, (said,) = ran.replay("--points", "1", "--renew", "--only", "model=learner")
    assert (status, said["result"], said["up_to"]) == (0, "equal", "1 of 3 points")
    assert ran.left_to_run() == 3
    assert {record.earlier for record in ran.store if isinstance(record, Record)} == {()}


def test_numbers_of_another_seed_are_unequal(ran: Folder) -> None:
    """A record that says seed 1 with the numbers of seed 0 is found out."""
    record = next(o for o in ran.store if isinstance(o, Record) and o.cell.model.name == "learner")
    other = replace(record, inputs=replace(record.inputs, cell=replace(record.cell, seed=1)))
    (ran.results / "records" / f"{other.inputs.address}.json").write_bytes(encode_outcome(other))
    status, said = ran.replay("--only", "model=learner")
    assert status == 1
    assert sorted(one["result"] for one in said) == ["equal", "unequal"]


def test_what_is_not_here_is_not_comparable(folder: Folder) -> None:
    """A file that is missing, and one with other bytes, are told; neither is a wrong number."""
    text = folder.root / "a.txt"
    text.write_text("a b\nb a\n" * 20)
    grid = GRID.replace('name = "tiny"', 'name = "file"\npath = "a.txt"')
    folder.run(grid)
    text.write_text("a b\nb c\n" * 20)
    status, (said,) = folder.replay()
    assert (status, said["result"]) == (1, "not comparable")  # nothing is shown to be true
    assert "other bytes" in said["why"]
    text.unlink()
    assert "a.txt" in folder.replay()[1][0]["why"]


def test_a_renewal_that_was_killed_is_finished(tmp_path: Path) -> None:
    """After the new record is there and before the old one is gone, both say the same."""
    store, old = Store(tmp_path), record_of(3.0)
    store.create()
    store.add(old)
    new = replace(old, inputs=replace(old.inputs, corpus="e"), earlier=(old.inputs.address,))
    store.add(new)
    assert store.renew(new)
    assert list(store) == [new]
    assert store.renew(new)


def test_a_record_that_stands_at_today_s_address_stays(tmp_path: Path) -> None:
    """And so does the old one: neither is taken for the other."""
    store, old = Store(tmp_path), record_of(3.0)
    store.create()
    store.add(old)
    other = replace(old, inputs=replace(old.inputs, corpus="e"))
    store.add(other)
    assert not store.renew(replace(other, earlier=(old.inputs.address,)))
    assert {o.inputs.address for o in store} == {old.inputs.address, other.inputs.address}


def test_a_damaged_record_at_today_s_address_costs_no_sound_one(tmp_path: Path) -> None:
    """It is named, and the old record stays."""
    store, old = Store(tmp_path), record_of(3.0)
    store.create()
    store.add(old)
    new = replace(old, inputs=replace(old.inputs, corpus="e"), earlier=(old.inputs.address,))
    (tmp_path / "records" / f"{new.inputs.address}.json").write_bytes(encode_outcome(new)[:-9])
    with pytest.raises(RecordError, match=new.inputs.address):
        store.renew(new)
    assert store.has(old.inputs.address)


def test_nothing_that_can_be_held_is_no_success(folder: Folder) -> None:
    """A folder without records, or whose only record is damaged, does not end with status 0."""
    folder.run(COUNTING.split("[[kernels]]")[0] + '[[corpora]]\nname = "tiny"\n')
    (path,) = (folder.results / "records").iterdir()
    path.write_bytes(path.read_bytes()[:-9])
    done = folder.type("replay", "results")
    assert done.returncode == 2
    assert "passed over" in done.stderr
    assert "holds no record that can be replayed" in done.stderr


def test_the_files_of_two_grids_are_found(folder: Folder) -> None:
    """Each record is replayed where the bytes of its files are, behind a link too."""
    remote = folder.root / "elsewhere"
    remote.mkdir()
    (folder.root / "real").mkdir()
    folder.results.symlink_to("real")
    for place, text in ((folder.root, "a b\nb a\n"), (remote, "a b\nb c\n")):
        (place / "a.txt").write_text(text * 20)
        (place / "my.toml").write_text(GRID.replace('"tiny"', '"file"\npath = "a.txt"'))
        done = folder.type("run", str(place / "my.toml"), "--results", "results", "-q")
        assert done.returncode == 0, done.stderr
    status, said = folder.replay()
    assert (status, [one["result"] for one in said]) == (0, ["equal", "equal"])


# ---------------------------------------------------------------- by what it is judged


HERE = Environment(
    "3.11", "Linux x86_64", "one", 2, (("numpy", "2.0"),), "", "avx2", (("openblas", "Zen"),)
)
ELSEWHERE = replace(HERE, processor="another")
ADAM = Part("adam")


def score(nats: float) -> Score:
    return Score(100, 100 * nats, 0, 100 * nats, 0, 500, 500, (nats,))


def record_of(
    *nats: float, losses: tuple[tuple[int, float], ...] = (), trained: bool = True
) -> Record:
    """A record whose points have these validation losses, and the last of them on test too."""
    points = tuple(
        Point(10 * (i + 1), 1.0, 1.0, loss, 0.0, loss, losses=losses if i == 0 else ())
        for i, loss in enumerate(nats)
    )
    cell = Cell(Part("c"), Part("m"), ADAM if trained else None, (), 0, "cpu", 1, None)
    return Record(
        inputs=Inputs.of(cell, corpus="d"),
        normalised=True,
        corpus=CorpusSize(10, 1000, 0.0),
        points=points,
        training=Training(10 * len(nats), 1.0, 1.0, 0.0, 1, "last point", 10),
        valid=score(nats[-1]),
        test=score(nats[-1]),
        score_seconds=0.5,
        total_seconds=3.0,
        parameters=7,
        bytes=56,
        provenance=Provenance(HERE, "2025-01-01T00:00:00+00:00", 1, 0.0),
    )


def replayed(record: Record, environment: Environment, points: int | None = None) -> Replayed:
    if points is None:
        return Replayed(Replay(record.points, record.valid, record.test), environment)
    return Replayed(Replay(record.points[:points], None, None), environment)


def judged(before: Record, now: Record, environment: Environment) -> str:
    return compare(before, replayed(now, environment), before.inputs).status


def test_on_one_machine_every_bit_counts() -> None:
    """The least difference of the last point is unequal."""
    record = record_of(3.0, 2.0)
    assert judged(record, record, HERE) == "equal"
    assert judged(record, record_of(3.0, 2.0000000000000004), HERE) == "unequal"
    assert compare(record, replayed(record, HERE), record.inputs).exact
    assert not compare(record, replayed(record, HERE, 1), record.inputs).exact


def test_what_is_no_loss_counts_too() -> None:
    """Characters of a split and what a reporter read are numbers of a record."""
    record = record_of(3.0, 2.0)
    longer = replace(record, test=replace(record.test, characters=999))
    assert "characters" in compare(record, replayed(longer, HERE), record.inputs).why
    reading = Reading("norm", 0.5)
    points = (replace(record.points[0], readings=(reading,)), *record.points[1:])
    assert judged(record, replace(record, points=points), HERE) == "unequal"


@pytest.mark.parametrize("step", sorted(STEP_TOLERANCES))
def test_on_another_machine_the_first_steps_count(step: int) -> None:
    """Within the tolerance of each step it is equal, whatever the later points; beyond, unequal."""
    tolerance = STEP_TOLERANCES[step]
    before = record_of(3.0, 2.0, losses=((step, 5.0),))
    near = record_of(3.0, 2.1, losses=((step, 5.0 + tolerance / 2),))
    far = record_of(3.0, 2.1, losses=((step, 5.0 + tolerance * 2),))
    assert judged(before, near, ELSEWHERE) == "equal"
    assert judged(before, far, ELSEWHERE) == "unequal"
    said = compare(before, replayed(near, ELSEWHERE), before.inputs)
    assert "recorded on one, here another" in said.why
    assert "points differ by up to 0.1 nats" in said.why  # told, and not judged
    assert renewed(said) is None


def test_without_steps_another_machine_proves_nothing() -> None:
    """A record from before the losses were kept cannot be judged, unless its bits are equal."""
    before = record_of(3.0, 2.0)
    assert judged(before, before, ELSEWHERE) == "equal"
    assert judged(before, record_of(3.0, 2.1), ELSEWHERE) == "not comparable"


def test_a_counting_model_is_near_on_any_machine() -> None:
    """It has no steps whose rounding grows: its losses agree to many digits."""
    before = record_of(3.0, trained=False)
    near = record_of(3.0 + COUNTING_TOLERANCE / 2, trained=False)
    assert judged(before, near, ELSEWHERE) == "equal"
    far = record_of(3.0 + COUNTING_TOLERANCE * 2, trained=False)
    assert judged(before, far, ELSEWHERE) == "unequal"
    assert judged(before, near, HERE) == "unequal"


def test_equal_bits_of_another_machine_are_renewed() -> None:
    """What is exact is exact wherever it was computed."""
    before = record_of(3.0, 2.0)
    today = replace(before.inputs, corpus="e")
    found = compare(before, replayed(before, ELSEWHERE), today)
    made = renewed(found)
    assert made is not None
    assert made.inputs == today
    assert made.earlier == (before.inputs.address,)
    assert renewed(compare(before, replayed(before, HERE), before.inputs)) is None  # is current
