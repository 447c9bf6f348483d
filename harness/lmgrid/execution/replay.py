"""Runs recorded cells again, and compares their losses with those of the records.

A record that was made by other code has another address than the same cell has today. If the cell,
run again, gives the same numbers to the last bit, ``renewed`` returns the record with today's
address.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, replace
from multiprocessing.connection import Connection
from typing import Literal, TypeAlias

from lmgrid.cell.cell_runner import CellRunner
from lmgrid.cell.runner import Replay
from lmgrid.errors import UserError
from lmgrid.execution.supervise import CONTEXT, preload
from lmgrid.execution.worker import become_worker, installed, search_path
from lmgrid.grid import AnyCell, GridError, KernelCell, Part, PartError, named_parts
from lmgrid.machine.environment import Environment, why_bits_may_differ
from lmgrid.plugin.discovery import describe_error
from lmgrid.plugin.options import all_options
from lmgrid.plugin.registry import Registry
from lmgrid.records.address import InputsReader
from lmgrid.records.record import Inputs, KernelRecord, Record
from lmgrid.result import Point, Score
from lmgrid.spec import Place

# The largest difference allowed between the losses of these steps on two different machines, in
# nats per token: ten times the largest difference between instruction sets, libraries and threads,
# rounded up to a power of ten (results/published/replay-tolerance). Step 100 is not judged: in an
# unstable training the difference has grown to 0.04 by then.
STEP_TOLERANCES = {1: 1e-5, 10: 1e-3}
# The same for the validation and test losses of a counting model, whose sums may be rounded.
COUNTING_TOLERANCE = 1e-9
TOLD = ("events", "readings")  # fields of a point beside its losses

Recorded: TypeAlias = Record | KernelRecord
Status: TypeAlias = Literal["equal", "unequal", "not comparable"]


@dataclass(frozen=True)
class Verdict:
    """The result of comparing one record with its replay."""

    record: Recorded
    status: Status
    _: KW_ONLY
    reach: str = ""  # up to where it was compared with the record
    why: str = ""
    inputs: Inputs | None = None  # what decides the numbers of the cell today
    exact: bool = False  # every point, valid and test have the same bits

    @property
    def is_current(self) -> bool:
        """Whether the record has the address that its cell has today."""
        return self.inputs is not None and self.inputs.address == self.record.inputs.address


@dataclass(frozen=True)
class Replayed:
    """The losses of a cell that was run again, and the environment that it ran in."""

    replay: Replay
    environment: Environment


def replay_each(
    records: Sequence[Recorded],
    registry: Registry,
    places: Sequence[Place],
    points: int | None = None,
) -> Iterator[Verdict]:
    """Run each recorded cell again, up to point number ``points`` or to its end; yield verdicts.

    Files that it names are looked for in each of the places, until their bytes are the record's.
    """
    preload(dict.fromkeys(name for record in records for name in _slow(record, registry)))
    for record in records:
        yield _replay(record, registry, places, points)


def _slow(record: Recorded, registry: Registry) -> Iterator[str]:
    """Yield the slow modules that a record's parts import, to import them once for all cells."""
    for kind, part in named_parts(record.inputs.any_cell):
        with suppress(PartError):  # it is not here, which is told when it is its turn
            yield from registry.find(kind, part.name).part.preload


def renewed(verdict: Verdict) -> Recorded | None:
    """Return the record with today's address; None unless the replay was equal to the bit.

    A kernel's number is its time, which no replay shows to be that of today's code.
    """
    record, inputs = verdict.record, verdict.inputs
    if not verdict.exact or inputs is None or verdict.is_current:
        return None
    return replace(record, inputs=inputs, earlier=(*record.earlier, record.inputs.address))


# ---------------------------------------------------------------- one record


def _replay(
    record: Recorded, registry: Registry, places: Sequence[Place], points: int | None
) -> Verdict:
    try:
        cell = cell_today(record.inputs.any_cell, registry)
        place, inputs = _located(cell, record.inputs, registry, places)
    except UserError as mistake:
        return Verdict(record, "not comparable", why=str(mistake))
    tokens = tuple(p.tokens for p in record.points[:points]) if isinstance(record, Record) else ()
    found = _in_process(_Task(cell, place, tokens, _is_whole(record, points)))
    if isinstance(found, _Ended):
        return Verdict(record, found.status, why=found.why, inputs=inputs)
    if isinstance(record, KernelRecord):
        assert isinstance(found, _Gap)
        return _compare_kernel(record, found, inputs)
    assert isinstance(found, Replayed)
    return compare(record, found, inputs)


def cell_today(cell: AnyCell, registry: Registry) -> AnyCell:
    """Return a recorded cell as a grid file gives it today; GridError if it cannot be made."""

    def today(kind: str, part: Part) -> Part:
        known = registry.find(kind, part.name)
        return registry.part(kind, part.name, all_options(known.part, part))

    if isinstance(cell, KernelCell):
        made: AnyCell = replace(cell, kernel=today("kernel", cell.kernel))
    else:
        made = replace(
            cell,
            corpus=today("corpus", cell.corpus),
            model=today("model", cell.model),
            optimizer=cell.optimizer and today("optimizer", cell.optimizer),
            regularizers=tuple(today("regularizer", part) for part in cell.regularizers),
            reporters=tuple(today("reporter", part) for part in cell.reporters),
        )
    registry.check_extras([made])
    if registry.resolve_device(made.device) != made.device:
        raise GridError(f"device {made.device!r} is not on this machine")
    return made


def inputs_today(record: Recorded, registry: Registry, places: Sequence[Place]) -> Inputs | None:
    """Return today's inputs of a recorded cell; None if its parts or files are not here."""
    try:
        cell = cell_today(record.inputs.any_cell, registry)
        return _located(cell, record.inputs, registry, places)[1]
    except UserError:
        return None


def _located(
    cell: AnyCell, recorded: Inputs, registry: Registry, places: Sequence[Place]
) -> tuple[Place, Inputs]:
    """Return the place where the cell's files have the recorded bytes, and the cell's inputs.

    Raises the UserError of the last place if it is in none.
    """
    problem = UserError("no folder to look for files in")
    for place in places:
        try:
            inputs = InputsReader(registry, place).inputs(cell)
        except UserError as mistake:
            problem = mistake
            continue
        if not (unlike := _unlike_data(recorded, inputs)):
            return place, inputs
        problem = UserError(f"{unlike} (in {place.folder}; --folder names another one)")
    raise problem


def _unlike_data(recorded: Inputs, today: Inputs) -> str:
    """Return why two cells have different data; empty if their data are the same."""
    if recorded.corpus != today.corpus:
        return "the corpus has other bytes than when it was recorded"
    unlike = set(recorded.files) ^ set(today.files) if recorded.rule == today.rule else set()
    names = ", ".join(sorted({name for name, _ in unlike}))
    return f"other bytes than when it was recorded: {names}" if names else ""


def _is_whole(record: Recorded, points: int | None) -> bool:
    return isinstance(record, Record) and (points is None or points >= len(record.points))


# ---------------------------------------------------------------- in a process of its own


@dataclass(frozen=True)
class _Task:
    cell: AnyCell
    place: Place
    tokens: tuple[int, ...]  # where the record has its points
    whole: bool  # they are all of them


@dataclass(frozen=True)
class _Gap:
    """How far the two forms of a kernel are apart, and how far they may be."""

    difference: float
    tolerance: float


@dataclass(frozen=True)
class _Ended:
    """The end of a cell that gave no losses to compare."""

    status: Status
    why: str


def _in_process(task: _Task) -> Replayed | _Gap | _Ended:
    """Run a cell in a process of its own, as when it was recorded, and wait for its result."""
    ours, theirs = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_tell, args=(task, theirs))  # type: ignore[attr-defined]
    process.start()
    theirs.close()
    try:
        found: Replayed | _Gap | _Ended = ours.recv()
        return found
    except EOFError:
        return _Ended("not comparable", "its process was killed")
    finally:
        process.kill()
        process.join()


def _tell(task: _Task, connection: Connection) -> None:
    become_worker()
    try:
        found = _perform(task)
    except UserError as mistake:
        connection.send(_Ended("not comparable", str(mistake)))
    except BaseException as error:  # of a third party
        connection.send(_Ended("unequal", f"ended as {describe_error(error)}"))
    else:
        connection.send(found)


def _perform(task: _Task) -> Replayed | _Gap:
    registry = installed(search_path())
    runner = CellRunner(registry, task.place, device_name=registry.confine(task.cell.device))
    if isinstance(task.cell, KernelCell):
        return _Gap(*runner.differ(task.cell))
    replay = runner.replay(task.cell, task.tokens, whole=task.whole)
    return Replayed(replay, runner.environment(task.cell))


# ---------------------------------------------------------------- held against the record


def _compare_kernel(record: KernelRecord, found: _Gap, inputs: Inputs) -> Verdict:
    equal = found.difference <= found.tolerance
    status: Status = "equal" if equal == record.equal else "unequal"
    said = f"the two forms differ by {found.difference:g}, {found.tolerance:g} is allowed"
    return Verdict(record, status, reach="whether both forms agree", why=said, inputs=inputs)


def compare(record: Record, found: Replayed, inputs: Inputs) -> Verdict:
    """Compare the losses of a replayed cell with those of its record.

    On the processor, instruction sets and libraries of the record, every loss must have the same
    bits. On others the losses of the first steps must agree within STEP_TOLERANCES, and those of a
    counting model within COUNTING_TOLERANCE; the difference of later losses is reported only.
    """
    replay = found.replay
    whole = replay.valid is not None
    reach, difference = _reach(record, replay), _first_difference(record, replay)
    if not difference:
        return Verdict(record, "equal", reach=reach, inputs=inputs, exact=whole)
    unlike = why_bits_may_differ(record.provenance.environment, found.environment)
    if not unlike:
        return Verdict(record, "unequal", reach=reach, why=difference, inputs=inputs)
    return _compare_roughly(record, replay, inputs, f"{_apart(record, replay)}; {unlike}")


def _apart(record: Record, replay: Replay) -> str:
    """Return the difference between the later losses and the record's, as text."""
    pairs = [
        ("points", (p.nats, q.nats)) for p, q in zip(record.points, replay.points, strict=False)
    ]
    if replay.valid is not None and replay.test is not None:
        pairs.append(("test", (record.test.mean_nats, replay.test.mean_nats)))
    gaps = {name: max(_gap(*pair) for n, pair in pairs if n == name) for name, _ in pairs}
    return ", ".join(f"{name} differ by up to {gap:.2g} nats" for name, gap in gaps.items())


def _reach(record: Record, replay: Replay) -> str:
    count, total = len(replay.points), len(record.points)
    points = f"{count} of {total} points" if count < total else f"all {total} points"
    if total == 1 and replay.valid is not None:
        return "valid and test"
    return f"{points}, valid and test" if replay.valid is not None else points


def _first_difference(record: Record, replay: Replay) -> str:
    """Return the first loss that differs from the record's, with both values; empty if none."""
    for i, (old, new) in enumerate(zip(record.points, replay.points, strict=False)):
        for name in ("tokens", "losses", "train_nats", "penalty", "valid_nats", *TOLD):
            before, now = getattr(old, name), getattr(new, name)
            if before != now and not (name == "losses" and not before):  # older records have none
                return f"point {i + 1}: {name} {before}, now {now}"
    for name, was, score in (
        ("valid", record.valid, replay.valid),
        ("test", record.test, replay.test),
    ):
        if score is not None and was != score:
            return f"{name}: {_unlike_field(was, score)}"
    if len(replay.points) < len(record.points) and replay.valid is not None:
        return f"{len(record.points)} points, now {len(replay.points)}"
    return ""


def _unlike_field(before: Score, now: Score) -> str:
    """Return the first field in which two scores differ."""
    names = (name for name, value in vars(before).items() if value != getattr(now, name))
    name = next(names)
    return f"{name} {getattr(before, name)}, now {getattr(now, name)}"


def _compare_roughly(record: Record, replay: Replay, inputs: Inputs, why: str) -> Verdict:
    """Compare losses from two different machines, where equal bits cannot be expected."""
    if not _is_trained(record):
        gap = _counting_gap(record, replay)
        near: Status = "equal" if gap <= COUNTING_TOLERANCE else "unequal"
        reach = f"{_reach(record, replay)}, within {COUNTING_TOLERANCE:g}"
        return Verdict(record, near, reach=reach, why=why, inputs=inputs)
    old, new = dict(_steps(record.points)), dict(_steps(replay.points))
    common = sorted(STEP_TOLERANCES.keys() & old.keys() & new.keys())
    if not common:
        told = f"no losses of first steps; {why}"
        return Verdict(record, "not comparable", why=told, inputs=inputs)
    far = [step for step in common if not abs(old[step] - new[step]) <= STEP_TOLERANCES[step]]
    if far:
        step = far[0]
        said = f"step {step}: loss {old[step]:.9g}, now {new[step]:.9g}; {why}"
        return Verdict(record, "unequal", reach=f"step {step}", why=said, inputs=inputs)
    within = ", ".join(f"{step} (within {STEP_TOLERANCES[step]:g})" for step in common)
    return Verdict(record, "equal", reach=f"steps {within}", why=why, inputs=inputs)


def _is_trained(record: Record) -> bool:
    """Whether the model was trained step by step, so that rounding errors grow."""
    return record.cell.optimizer is not None or len(record.points) > 1


def _counting_gap(record: Record, replay: Replay) -> float:
    pairs = [(old.nats, new.nats) for old, new in zip(record.points, replay.points, strict=False)]
    if replay.valid is not None and replay.test is not None:
        pairs += [(record.valid.mean_nats, replay.valid.mean_nats)]
        pairs += [(record.test.mean_nats, replay.test.mean_nats)]
    return max((_gap(*pair) for pair in pairs), default=math.inf)


def _gap(one: float, two: float) -> float:
    return 0.0 if one == two else abs(one - two)


def _steps(points: Sequence[Point]) -> Iterator[tuple[int, float]]:
    return (loss for point in points for loss in point.losses)
