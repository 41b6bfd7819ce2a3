"""A whole database, read without the engine (FORMAT.md 12)."""

from __future__ import annotations

import errno
import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Any

from nori_lsm._core import CorruptionError, StaleError
from nori_lsm.inspect._batch import Entry, RangeDelete
from nori_lsm.inspect._bytes import Data, Place, checksum, damaged
from nori_lsm.inspect._log import Log, read_log
from nori_lsm.inspect._manifest import Manifest, read_manifest
from nori_lsm.inspect._names import (
    DirectoryFiles,
    Files,
    kind_of,
    number_of,
    read_current,
    table_name,
    wall_clock_ms,
)
from nori_lsm.inspect._shares import Run, is_below
from nori_lsm.inspect._table import Table, read_table
from nori_lsm.inspect._tree import Tree

__all__ = ["Database", "read_database"]

_TRIES = 20


@dataclass(frozen=True)
class Database:
    """The state that a directory holds. Tables are read when they are asked for, one at a time for each run."""

    files: Files = field(repr=False)
    manifest: Manifest = field(repr=False)
    tree: Tree = field(repr=False)
    log: Log = field(repr=False)

    @property
    def database_id(self) -> int:
        return self.manifest.header.database_id

    @property
    def sequence(self) -> int:
        """Of the newest commit, in log or tables."""
        return self.log.sequence

    def table(self, number: int) -> Table:
        """A table that the manifest names. KeyError if it does not; CorruptionError if it is missing or damaged;
        StaleError if a writer has removed it meanwhile."""
        known = self.tree.tables[number]
        path = table_name(number)
        try:
            data = self.files.read(path)
        except FileNotFoundError as error:
            if number not in read_database(self.files).tree.table_numbers:
                raise StaleError(errno.ESTALE, "a writer has removed it", path) from error
            raise damaged(Place(path, None, "table"), "the manifest names it, and it is missing") from error
        if len(data) != known.bytes:
            raise damaged(Place(path, None, "table"), f"has {len(data)} bytes, by the manifest {known.bytes}")
        sequence = known.properties.largest_sequence
        return read_table(data, path, number=number, database_id=self.database_id, sequence=sequence)

    def range_deletes(self, sequence: int | None = None) -> list[RangeDelete]:
        """All that count, of log and tables, up to a sequence, cut to the slices that they stand in."""
        found = [operation for operation in self._log_operations() if isinstance(operation, RangeDelete)]
        for piece in self.tree.slices():
            if self.tree.tables[piece.table].properties.range_tombstones:
                for delete in self.table(piece.table).range_deletes:
                    start = max(delete.start, piece.start)
                    end = piece.end if is_below(piece.end, delete.end) else delete.end
                    if end is None or start < end:
                        found.append(RangeDelete(start, end, delete.sequence))
        return [delete for delete in found if sequence is None or delete.sequence <= sequence]

    def versions(self) -> Iterator[Entry]:
        """All entries that count, of log and tables, by key and the newest first; what they are hidden by included."""
        logged = [operation for operation in self._log_operations() if isinstance(operation, Entry)]
        sources: list[Iterable[Entry]] = [sorted(logged, key=_order)]
        for slots in self.tree.levels:
            depth = max(len(slot.runs) for slot in slots)
            for age in range(depth):
                runs = [slot.runs[age] for slot in slots if age < len(slot.runs)]
                sources.append(entry for run in runs for entry in self._run_entries(run))
        return heapq.merge(*sources, key=_order)

    def items(self, *, sequence: int | None = None, now_ms: int | None = None) -> Iterator[tuple[bytes, bytes]]:
        """The pairs that a reader sees, in the order of their keys (FORMAT.md 5).

        sequence  what is newer does not count; None: all does. What merges have dropped is not there for an older one
        now_ms    time of expiry, in milliseconds since 1970; None: now, but not before the manifest's TTL clock

        CorruptionError, FormatError, StaleError as table().
        """
        if now_ms is None:
            now_ms = max(wall_clock_ms(), self.tree.counters.ttl_clock_ms)
        deletes = _Deletes(self.range_deletes(sequence))
        last: bytes | None = None
        for entry in self.versions():
            if entry.key == last or (sequence is not None and entry.sequence > sequence):
                continue
            last = entry.key
            if entry.is_value_at(now_ms) and deletes.newest_over(entry.key) <= entry.sequence:
                assert entry.value is not None
                yield entry.key, entry.value

    def pairs(self, *, sequence: int | None = None, now_ms: int | None = None) -> dict[bytes, bytes]:
        """items(), all at once."""
        return dict(self.items(sequence=sequence, now_ms=now_ms))

    def to_dict(self) -> dict[str, Any]:
        """Of what the database is made, without what it holds."""
        return {"manifest": self.manifest.path, "tree": self.tree.to_dict(), "log": self.log.to_dict()}

    def check(self) -> None:
        """Reads all files. CorruptionError for the first thing that is damaged, or does not fit together."""
        for number in sorted(self.tree.table_numbers):
            table, known = self.table(number), self.tree.tables[number].properties
            table.check()
            said = table.properties
            if table.is_stamped:
                one = known.largest_sequence
                said = replace(said, smallest_sequence=one, largest_sequence=one)
            if said != known:
                raise damaged(Place(table.path, None, "properties"), f"say {said}, by the manifest {known}")
        for _ in self._log_operations():
            pass

    def _log_operations(self) -> Iterator[Entry | RangeDelete]:
        for commit in self.log.commits:
            yield from commit.operations()

    def _run_entries(self, run: Run) -> Iterator[Entry]:
        for piece in run.slices:
            yield from self.table(piece.table).entries(piece.start, piece.end)


def _order(entry: Entry) -> tuple[bytes, int]:
    return entry.key, -entry.sequence


class _Deletes:
    """Range deletes, asked for keys that ascend."""

    def __init__(self, deletes: list[RangeDelete]) -> None:
        self.waiting = sorted(deletes, key=lambda delete: delete.start, reverse=True)
        self.over: list[tuple[int, bool, bytes]] = []  # Greatest sequence first; those that ended are dropped late.

    def newest_over(self, key: bytes) -> int:
        """The greatest sequence of those that cover the key, 0 if none does."""
        while self.waiting and self.waiting[-1].start <= key:
            delete = self.waiting.pop()
            heapq.heappush(self.over, (-delete.sequence, delete.end is None, delete.end or b""))
        while self.over and not self.over[0][1] and self.over[0][2] <= key:
            heapq.heappop(self.over)
        return -self.over[0][0] if self.over else 0


def _state(files: Files) -> tuple[bytes, int] | None:
    """What changes whenever a writer changes the tree: CURRENT, and the checksum of the manifest."""
    try:
        text = files.read("CURRENT")
        return text, checksum(files.read(read_current(text).manifest))
    except (FileNotFoundError, CorruptionError):
        return None


def _read_once(files: Files) -> Database:
    sizes = files.list()
    if "CURRENT" not in sizes:
        if any(kind_of(name) in ("table", "segment") for name in sizes):
            raise damaged(Place("CURRENT", None, "current"), "missing beside tables or segments")
        raise FileNotFoundError(errno.ENOENT, "there is no database", "CURRENT")
    current = read_current(files.read("CURRENT"))
    if current.manifest not in sizes:
        raise damaged(Place(current.manifest, None, "manifest"), "CURRENT names it, and it is missing")
    data = files.read(current.manifest)
    manifest = read_manifest(data, current.manifest, number=current.number)
    tree = manifest.tree()
    segments: dict[int, Data] = {}
    # The newest first: a writer has ended a segment before it begins the next one.
    for name in sorted(sizes, key=lambda name: number_of(name) or 0, reverse=True):
        number = number_of(name) if kind_of(name) == "segment" else None
        if number is not None and number >= tree.counters.log_number:
            segments[number] = files.read(name)
    counters = tree.counters
    log = read_log(segments, manifest.header.database_id, counters.log_number, counters.flushed_sequence)
    for number in sorted(tree.table_numbers):
        name = table_name(number)
        if sizes.get(name) != tree.tables[number].bytes:
            found = "is missing" if name not in sizes else f"has {sizes[name]} bytes"
            raise damaged(Place(name, None, "table"), f"{found}; by the manifest it has {tree.tables[number].bytes}")
    return Database(files, manifest, tree, log)


def read_database(path: str | PathLike[str] | Files) -> Database:
    """What a directory holds, read without the engine and without its lock (FORMAT.md 12).

    path  the directory, or any Files, as SimDiskFiles

    FileNotFoundError where there is no database; CorruptionError with path, offset and kind where one is damaged, a
    table it names is missing, or the log or the manifest was longer on disk; FormatError if a later version made it.
    Beside a writer that removes files meanwhile it begins again, and gives up with StaleError.
    """
    files: Files = DirectoryFiles(path) if isinstance(path, (str, PathLike)) else path
    seen: str | None = None
    for _ in range(_TRIES):
        before = _state(files)
        try:
            database = _read_once(files)
        except (CorruptionError, FileNotFoundError) as error:
            # A page can be read before what is behind it is written: damage is what is there a second time.
            if str(error) == seen and _state(files) == before:
                raise
            seen = str(error)
            continue
        if _state(files) == before:
            return database
    raise StaleError(errno.ESTALE, "a writer changed it each time that it was read")
