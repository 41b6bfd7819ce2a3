"""Edits of the manifest (FORMAT.md 10.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, ClassVar

from nori_lsm.inspect._bytes import MAX_RANGE_END_BYTES, MAX_SEQUENCE, NUMBER_LIMIT, Cursor
from nori_lsm.inspect._properties import Properties, read_properties

__all__ = [
    "AddGuards",
    "AddTable",
    "Counters",
    "Edit",
    "MergeL0",
    "Operation",
    "Options",
    "PushL0",
    "RemoveGuards",
    "SetGuards",
    "SetShape",
    "SetSlot",
    "SubtractL0",
    "read_edit",
]

Key = bytes  # EditSlice has a field of the name of the type.
FROM_START, TO_END, INFINITE = 1, 2, 4  # Flags of a slice.
MAX_LEVEL = 15


@dataclass(frozen=True)
class EditSlice:
    """A slice as an edit has it: what the flags leave out is None."""

    table: int
    flags: int
    start: Key | None
    end: Key | None
    bytes: int
    entries: int
    deletes: int
    ranges: int


@dataclass(frozen=True)
class EditRun:
    """A run as an edit has it."""

    id: int
    slices: tuple[EditSlice, ...]


@dataclass(frozen=True)
class Operation:
    """What an edit is made of."""

    name: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        return {"operation": self.name, **asdict(self)}


@dataclass(frozen=True)
class Counters(Operation):
    """Numbers that only rise; 0 says nothing. ttl_clock_ms: milliseconds since 1970."""

    name = "counters"
    next_file_number: int = 0
    next_run_id: int = 0
    next_slot_id: int = 0
    flushed_sequence: int = 0
    log_number: int = 0
    ttl_clock_ms: int = 0


@dataclass(frozen=True)
class Options(Operation):
    """The options, as lines of name=value."""

    name = "options"
    text: str


@dataclass(frozen=True)
class AddTable(Operation):
    """Makes a table known. bytes: of its file."""

    name = "add table"
    number: int
    bytes: int
    properties: Properties


@dataclass(frozen=True)
class PushL0(Operation):
    """A new run, the newest of level 0."""

    name = "push"
    run: EditRun


@dataclass(frozen=True)
class SubtractL0(Operation):
    """Takes [start, end) out of a run of level 0."""

    name = "subtract"
    run_id: int
    start: bytes
    end: bytes | None


@dataclass(frozen=True)
class MergeL0(Operation):
    """Replaces neighbours in level 0 by a run or nothing."""

    name = "merge"
    newest_run_id: int
    oldest_run_id: int
    run: EditRun | None


@dataclass(frozen=True)
class SetSlot(Operation):
    """New runs, newest first, and k_max of a slot."""

    name = "set slot"
    level: int
    k_max: int
    guard: bytes
    runs: tuple[EditRun, ...]


@dataclass(frozen=True)
class SetGuards(Operation):
    """Cuts a level anew. The first guard, the empty one, is left out."""

    name = "set guards"
    level: int
    k_max: int
    first_slot_id: int
    guards: tuple[bytes, ...]


@dataclass(frozen=True)
class Shape:
    """A slot without its runs."""

    guard: bytes
    slot_id: int
    k_max: int


@dataclass(frozen=True)
class SetShape(Operation):
    """The slots of a level without runs."""

    name = "set shape"
    level: int
    slots: tuple[Shape, ...]


@dataclass(frozen=True)
class AddGuards(Operation):
    """Cuts slots in two."""

    name = "add guards"
    level: int
    first_slot_id: int
    guards: tuple[bytes, ...]


@dataclass(frozen=True)
class RemoveGuards(Operation):
    """Joins slots with those before."""

    name = "remove guards"
    level: int
    guards: tuple[bytes, ...]


@dataclass(frozen=True)
class Edit:
    """A record of a manifest: the byte where it begins, its number from 1, its operations."""

    offset: int
    sequence: int
    operations: tuple[Operation, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "offset": self.offset,
            "sequence": self.sequence,
            "operations": [operation.to_dict() for operation in self.operations],
        }


def _counters(cursor: Cursor) -> Counters:
    counters = Counters(*(cursor.varint() for _ in range(6)))
    numbers = (counters.next_file_number, counters.next_run_id, counters.next_slot_id, counters.log_number)
    if max(numbers) >= NUMBER_LIMIT or counters.flushed_sequence > MAX_SEQUENCE:
        raise cursor.fail("counters that cannot be counted on")
    return counters


def _add_table(cursor: Cursor) -> AddTable:
    table = AddTable(cursor.varint(), cursor.varint(), read_properties(cursor))
    if table.number >= NUMBER_LIMIT:
        raise cursor.fail(f"table {table.number}, whose number is too large")
    return table


def _level(cursor: Cursor) -> int:
    level = cursor.varint()
    if not 1 <= level <= MAX_LEVEL:
        raise cursor.fail(f"an operation on level {level}")
    return level


def _slice(cursor: Cursor) -> EditSlice:
    table, flags = cursor.varint(), cursor.varint()
    if flags & ~(FROM_START | TO_END | INFINITE):
        raise cursor.fail(f"slice flags {flags:#x} are not known")
    start = None if flags & FROM_START else cursor.key()
    end = None if flags & (TO_END | INFINITE) else cursor.sized(MAX_RANGE_END_BYTES)
    numbers = [cursor.varint() for _ in range(4)]
    if max(numbers) > NUMBER_LIMIT:
        raise cursor.fail("a slice larger than can be")
    return EditSlice(table, flags, start, end, *numbers)


def _runs(cursor: Cursor) -> Iterator[EditRun]:
    for _ in range(cursor.varint()):
        number, count = cursor.varint(), cursor.varint()
        if not count:
            raise cursor.fail("a run without slices")
        yield EditRun(number, tuple(_slice(cursor) for _ in range(count)))


def _guards(cursor: Cursor) -> tuple[bytes, ...]:
    guards = tuple(cursor.key() for _ in range(cursor.varint()))
    for before, guard in zip((b"", *guards), guards, strict=False):
        if guard <= before:
            raise cursor.fail("guards do not ascend, or one is empty")
    return guards


def _bound(cursor: Cursor) -> bytes | None:
    infinite = cursor.varint()
    if infinite > 1:
        raise cursor.fail(f"a bound of kind {infinite}")
    return None if infinite else cursor.sized(MAX_RANGE_END_BYTES)


def _options(cursor: Cursor) -> Options:
    text = cursor.sized().decode("utf-8", "surrogateescape")
    if not all("=" in line for line in text.split("\n") if line):
        raise cursor.fail("options have a line without '='")
    return Options(text)


def _push(cursor: Cursor) -> PushL0:
    runs = tuple(_runs(cursor))
    if len(runs) != 1:
        raise cursor.fail(f"a push of {len(runs)} runs")
    return PushL0(runs[0])


def _merge(cursor: Cursor) -> MergeL0:
    newest, oldest, runs = cursor.varint(), cursor.varint(), tuple(_runs(cursor))
    if len(runs) > 1:
        raise cursor.fail(f"a merge into {len(runs)} runs")
    return MergeL0(newest, oldest, runs[0] if runs else None)


def _shape(cursor: Cursor) -> SetShape:
    level, count = _level(cursor), cursor.varint()
    slots = tuple(Shape(cursor.key(), cursor.varint(), cursor.varint()) for _ in range(count))
    if not slots or slots[0].guard or any(a.guard >= b.guard for a, b in pairwise(slots)):
        raise cursor.fail("the guards of a shape do not ascend from the empty one")
    return SetShape(level, slots)


def _operation(cursor: Cursor) -> Operation:
    kind = cursor.varint()
    if kind == 1:
        return _counters(cursor)
    if kind == 2:
        return _options(cursor)
    if kind == 3:
        return _add_table(cursor)
    if kind == 4:
        return _push(cursor)
    if kind == 5:
        return SubtractL0(cursor.varint(), cursor.key(), _bound(cursor))
    if kind == 6:
        return _merge(cursor)
    if kind == 7:
        return SetSlot(_level(cursor), cursor.varint(), cursor.key(), tuple(_runs(cursor)))
    if kind == 8:
        return SetGuards(_level(cursor), cursor.varint(), cursor.varint(), _guards(cursor))
    if kind == 9:
        return _shape(cursor)
    if kind == 10:
        return AddGuards(_level(cursor), cursor.varint(), _guards(cursor))
    if kind == 11:
        return RemoveGuards(_level(cursor), _guards(cursor))
    raise cursor.fail(f"operation {kind} is not known")


def read_edit(cursor: Cursor, offset: int, sequence: int) -> Edit:
    """Takes an edit from the cursor, to its end. CorruptionError if it is not understood."""
    operations: list[Operation] = []
    while cursor.left:
        operations.append(_operation(cursor))
    if not operations or not isinstance(operations[0], Counters):
        raise cursor.fail("an edit that does not begin with counters")
    return Edit(offset, sequence, tuple(operations))
