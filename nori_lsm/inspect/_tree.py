"""The tree of a database, made from the edits of its manifest (FORMAT.md 10.1, 10.3)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

from nori_lsm.inspect._bytes import Place, damaged
from nori_lsm.inspect._edits import (
    FROM_START,
    INFINITE,
    TO_END,
    AddGuards,
    AddTable,
    Counters,
    Edit,
    EditRun,
    EditSlice,
    MergeL0,
    Operation,
    Options,
    PushL0,
    RemoveGuards,
    SetGuards,
    SetShape,
    SetSlot,
    SubtractL0,
)
from nori_lsm.inspect._shares import Run, Slice, cut_run, is_below

__all__ = ["Slot", "Tree", "TreeBuilder"]

NEW_RUN_ID = 1 << 63  # What a slot that is new names runs after itself with.
MAX_NAMING_SLOT_ID = (1 << 47) - 1
MAX_NAMING_PLACE = (1 << 16) - 1


@dataclass(frozen=True)
class Slot:
    """Keys in [start, end), end None: infinite. Runs, newest first; k_max: the most it is to hold, 0: not decided."""

    id: int
    start: bytes
    end: bytes | None
    k_max: int
    runs: tuple[Run, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Tree:
    """Levels from 0, each a tuple of slots; the tables that are known, by number; the counters; the options' text."""

    levels: tuple[tuple[Slot, ...], ...]
    tables: dict[int, AddTable]
    counters: Counters
    options: str

    def slices(self) -> Iterator[Slice]:
        """All slices of all runs, from newest to oldest within each slot."""
        for slots in self.levels:
            for slot in slots:
                for run in slot.runs:
                    yield from run.slices

    @property
    def table_numbers(self) -> set[int]:
        """The tables that belong to the database."""
        return {piece.table for piece in self.slices()}

    def to_dict(self) -> dict[str, Any]:
        levels = [[slot.to_dict() for slot in slots] for slots in self.levels]
        return {"levels": levels, "counters": asdict(self.counters), "options": self.options}


class TreeBuilder:
    """Applies edits, one after the other. What does not fit the tree raises CorruptionError naming the edit's record."""

    def __init__(self, levels: int, path: str) -> None:
        self.path = path
        self.place = Place(path, None, "manifest")
        self.levels: list[list[Slot]] = []
        self.tables: dict[int, AddTable] = {}
        self.counters = Counters()
        self.options = ""
        self._deepen(levels)

    def tree(self) -> Tree:
        return Tree(tuple(tuple(slots) for slots in self.levels), dict(self.tables), self.counters, self.options)

    def apply(self, edit: Edit) -> None:
        self.place = Place(self.path, edit.offset, "manifest")
        for operation in edit.operations:
            self._apply(operation)

    def _apply(self, operation: Operation) -> None:
        if isinstance(operation, (SetSlot, SetGuards, SetShape, AddGuards, RemoveGuards)):
            self._deepen(operation.level + 1)
        match operation:
            case Counters():
                names = asdict(operation)
                greater = {name: max(value, getattr(self.counters, name)) for name, value in names.items()}
                self.counters = Counters(**greater)
            case Options(text=text):
                self.options = text
            case AddTable(number=number):
                if number in self.tables:
                    raise self._fail(f"table {number} is added twice")
                self.tables[number] = operation
            case PushL0(run=run):
                self._push(self._run(run))
            case SubtractL0():
                self._subtract(operation)
            case MergeL0():
                self._merge(operation)
            case SetSlot():
                self._set_slot(operation)
            case SetGuards(level=level, guards=guards, k_max=k_max, first_slot_id=first):
                self._cut(level, guards, k_max, first)
            case SetShape():
                self._set_shape(operation)
            case AddGuards(level=level, guards=guards, first_slot_id=first):
                self._cut(level, sorted({*guards, *self._guards(level)}), 0, first)
            case RemoveGuards(level=level, guards=guards):
                own = self._guards(level)
                if not {*guards} <= {*own}:
                    raise self._fail("a guard is removed that is not there")
                self._cut(level, [guard for guard in own if guard not in guards], 0, 0)

    def _fail(self, message: str) -> Exception:
        return damaged(self.place, message)

    def _deepen(self, count: int) -> None:
        for level in range(len(self.levels), count):
            self.levels.append([Slot(level, b"", None, 0)])

    def _guards(self, level: int) -> list[bytes]:
        return [slot.start for slot in self.levels[level][1:]]

    def _set_l0(self, runs: Sequence[Run]) -> None:
        self.levels[0] = [replace(self.levels[0][0], runs=tuple(runs))]

    # ---------------------------------------------------------------- runs and slices

    def _slice(self, piece: EditSlice) -> Slice:
        table = self.tables.get(piece.table)
        if table is None:
            raise self._fail(f"a slice of table {piece.table}, which is not known")
        properties = table.properties
        start = properties.smallest if piece.flags & FROM_START else piece.start
        end = properties.end if piece.flags & TO_END else None if piece.flags & INFINITE else piece.end
        assert start is not None
        if start < properties.smallest or is_below(properties.end, end) or (end is not None and end <= start):
            raise self._fail(f"a slice that is not within table {piece.table}")
        return Slice(piece.table, start, end, piece.bytes, piece.entries, piece.deletes, piece.ranges)

    def _run(self, run: EditRun) -> Run:
        slices = tuple(self._slice(piece) for piece in run.slices)
        for before, piece in pairwise(slices):
            if before.end is None or piece.start < before.end:
                raise self._fail(f"slices of run {run.id} overlap")
        return Run(run.id, slices)

    # ---------------------------------------------------------------- level 0

    def _push(self, run: Run) -> None:
        runs = self.levels[0][0].runs
        if any(other.id == run.id for other in runs):
            raise self._fail(f"run {run.id} is pushed twice")
        self._set_l0([run, *runs])

    def _find_l0(self, run_id: int) -> int:
        for place, run in enumerate(self.levels[0][0].runs):
            if run.id == run_id:
                return place
        raise self._fail(f"run {run_id} is not in level 0")

    def _subtract(self, operation: SubtractL0) -> None:
        runs = list(self.levels[0][0].runs)
        place = self._find_l0(operation.run_id)
        run = runs[place]
        parts = [cut_run(run, b"", operation.start)]
        if operation.end is not None:
            parts.append(cut_run(run, operation.end, None))
        slices = [piece for part in parts if part is not None for piece in part.slices]
        runs[place : place + 1] = [Run(run.id, tuple(slices))] if slices else []
        self._set_l0(runs)

    def _merge(self, operation: MergeL0) -> None:
        runs = list(self.levels[0][0].runs)
        newest, oldest = self._find_l0(operation.newest_run_id), self._find_l0(operation.oldest_run_id)
        if newest > oldest:
            raise self._fail("the newest run of a merge is older than its oldest")
        runs[newest : oldest + 1] = [] if operation.run is None else [self._run(operation.run)]
        if len({run.id for run in runs}) != len(runs):
            raise self._fail("a merge makes a run that is there")
        self._set_l0(runs)

    # ---------------------------------------------------------------- deeper levels

    def _set_slot(self, operation: SetSlot) -> None:
        slots = self.levels[operation.level]
        place = bisect_right([slot.start for slot in slots], operation.guard) - 1
        slot = slots[place]
        if slot.start != operation.guard:
            raise self._fail("a slot is set that is not there")
        runs = tuple(self._run(run) for run in operation.runs)
        for run in runs:
            if run.start < slot.start or is_below(slot.end, run.end):
                raise self._fail(f"run {run.id} is not within its slot")
        slots[place] = replace(slot, k_max=operation.k_max, runs=runs)

    def _set_shape(self, operation: SetShape) -> None:
        if any(slot.runs for slot in self.levels[operation.level]):
            raise self._fail("a level with runs is shaped")
        ends: list[bytes | None] = [shape.guard for shape in operation.slots[1:]]
        self.levels[operation.level] = [
            Slot(shape.slot_id, shape.guard, end, shape.k_max)
            for shape, end in zip(operation.slots, [*ends, None], strict=True)
        ]

    def _cut(self, level: int, guards: Sequence[bytes], k_max: int, next_id: int) -> None:
        """Set guards (FORMAT.md 10.3, 8)."""
        old = self.levels[level]
        starts = [slot.start for slot in old]
        ends: list[bytes | None] = [*guards, None]
        new: list[Slot] = []
        first = 0
        for start, end in zip([b"", *guards], ends, strict=True):
            first = bisect_right(starts, start) - 1
            covering = old[first]
            if (covering.start, covering.end) == (start, end):
                new.append(covering)
                continue
            kept = covering.start == start
            if not kept:
                next_id += 1
            slot_id = covering.id if kept else next_id - 1
            sources = [slot for slot in old[first:] if end is None or slot.start < end]
            runs = self._joined(sources, start, end, None if kept else slot_id)
            new.append(Slot(slot_id, start, end, k_max or covering.k_max, runs))
        self.levels[level] = new

    def _joined(self, sources: list[Slot], start: bytes, end: bytes | None, new_id: int | None) -> tuple[Run, ...]:
        """The runs of a slot [start, end) made of old slots; new_id: what to name cut runs after, None: they keep theirs."""
        seen = 0
        columns: list[list[Run]] = []
        for slot in sources:
            column: list[Run] = []
            for place, run in enumerate(slot.runs, seen):
                part = cut_run(run, start, end)
                if part is not None and part is not run and new_id is not None:
                    if new_id > MAX_NAMING_SLOT_ID or place > MAX_NAMING_PLACE:
                        raise self._fail(f"a run is named after place {place} of slot {new_id}")
                    part = replace(part, id=NEW_RUN_ID | new_id << 16 | place)
                if part is not None:
                    column.append(part)
            if column:
                seen += len(slot.runs)
            columns.append(column)
        runs: list[Run] = []
        for age in range(1, max(map(len, columns)) + 1):
            parts = [column[-age] for column in columns if len(column) >= age]
            slices = [piece for part in parts for piece in part.slices]
            runs.insert(0, Run(parts[0].id, tuple(_with_neighbours_joined(slices))))
        return tuple(runs)


def _with_neighbours_joined(slices: list[Slice]) -> list[Slice]:
    """Slices of one table that meet become one."""
    joined: list[Slice] = []
    for piece in slices:
        last = joined[-1] if joined else None
        if last is not None and last.table == piece.table and last.end == piece.start:
            piece = Slice(
                piece.table,
                last.start,
                piece.end,
                last.bytes + piece.bytes,
                last.entries + piece.entries,
                last.deletes + piece.deletes,
                last.ranges + piece.ranges,
            )
            joined.pop()
        joined.append(piece)
    return joined
