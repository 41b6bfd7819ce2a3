"""`crash_points`: a script of the user's, stopped at each operation of its disk in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import nori_lsm
from nori_lsm._core import Engine, SimDisk

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["CHEAP_TO_OPEN", "PATH", "CrashPoint", "crash_points"]

Told = TypeVar("Told")

PATH = "/db"

# With these an open takes 0.1 ms instead of 0.5: the caches and the recycled segments of the log are what it costs.
# Small memtables bring flushes and compactions into short scripts, too.
CHEAP_TO_OPEN: dict[str, Any] = {
    "wal__segment_bytes": 64 << 10,
    "memtable__flush_trigger_bytes": 16 << 10,
    "resources__block_cache_mib": 1,
    "resources__index_cache_mib": 1,
    "resources__memtables_mib": 1,
    "resources__filters_mib": 1,
    "resources__max_open_files": 64,
}


@dataclass(frozen=True, eq=False)
class CrashPoint(Generic[Told]):
    """What was left when a script ended before its `operation`-th operation on the disk, the first being 1.

    It stands for the engine that was recovered: `point[key]`, `dict(point)`, `point.scan()` are those of `point.db`."""

    operation: int
    kind: str | None  # What that operation was, one of SimDisk.op_names; None: the script had come to its end.
    acknowledged: list[Told]  # What the script had yielded.
    db: Engine  # Recovered. Open until the next point is asked for.
    disk: SimDisk

    def __getattr__(self, name: str) -> Any:
        return getattr(self.db, name)

    def __getitem__(self, key: Buffer, /) -> bytes:
        return self.db[key]

    def __setitem__(self, key: Buffer, value: Buffer, /) -> None:
        self.db[key] = value

    def __delitem__(self, key: Buffer, /) -> None:
        del self.db[key]

    def __contains__(self, key: Buffer, /) -> bool:
        return key in self.db

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.db)

    def __reversed__(self) -> Iterator[bytes]:
        return reversed(self.db)

    def __len__(self) -> int:
        return len(self.db)

    def __bool__(self) -> bool:
        return bool(self.db)

    def __eq__(self, other: object, /) -> bool:
        return self.db == (other.db if isinstance(other, CrashPoint) else other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        where = f"before operation {self.operation}, {self.kind}" if self.kind else "after the last operation"
        return f"<CrashPoint {where}: {len(self.acknowledged)} acknowledged>"


@overload
def crash_points(
    fn: Callable[[Engine], Iterator[Told]],
    *,
    seed: int = ...,
    sector: int = ...,
    keep: float | None = ...,
    kill: bool = ...,
    operations: Iterable[int] | None = ...,
    prepare: Callable[[Engine], object] | None = ...,
    **overrides: Any,
) -> Iterator[CrashPoint[Told]]: ...
@overload
def crash_points(
    fn: Callable[[Engine], None],
    *,
    seed: int = ...,
    sector: int = ...,
    keep: float | None = ...,
    kill: bool = ...,
    operations: Iterable[int] | None = ...,
    prepare: Callable[[Engine], object] | None = ...,
    **overrides: Any,
) -> Iterator[CrashPoint[Any]]: ...
def crash_points(
    fn: Callable[[Engine], Any],
    *,
    seed: int = 0,
    sector: int = 512,
    keep: float | None = None,
    kill: bool = False,
    operations: Iterable[int] | None = None,
    prepare: Callable[[Engine], object] | None = None,
    **overrides: Any,
) -> Iterator[CrashPoint[Any]]:
    """Runs `fn(db)` once per operation that it does on the disk; there the power fails, and what is recovered is yielded.

    Each run has a fresh engine on a fresh SimDisk; the last one comes to the script's end. What a script acknowledges, to
    its users or to other programs, it yields: a generator function. These values, up to the stop, are the point's
    `acknowledged`. A plain function acknowledges nothing. The script sees OSError when the power fails, and must end.

    seed        of the disks: what of the unsynced survives. Same seed, same script: same points
    sector      what a disk writes whole, 512 or 4096
    keep        the chance of each unsynced sector and name to survive; None: drawn anew for each point; 0.0 keeps what was
                synced and nothing else, which finds missing syncs soonest
    kill        the process dies instead (kill -9): all that was written stays
    operations  stop at these alone, ascending: [17] for one, range(1, 10**6, 7) for a sample; None: at each
    prepare     brings the fresh database into the state that fn starts from. It is synced and has no crash points
    overrides   of the config. The defaults make opening cheap and tables small; what is given here wins
    """
    settings = {**CHEAP_TO_OPEN, **overrides}
    for operation in count(1) if operations is None else operations:
        if operation < 1:
            raise ValueError(f"operations are counted from 1, not {operation!r}")
        # Any odd number does: seeds of neighbours must differ, and not be those of another seed's neighbours.
        disk = SimDisk((seed + operation * 0x9E3779B97F4A7C15) % (1 << 64), sector=sector)
        db = nori_lsm.open(PATH, env=disk, **settings)
        try:
            if prepare is not None:
                prepare(db)
                db.sync()
            disk.stop_at(operation)
            acknowledged = _run(fn, db, disk)
            kind = disk.stopped
            if kill:
                disk.kill()
            else:
                disk.crash(keep)
        finally:
            _leave(disk, db)
        recovered = nori_lsm.open(PATH, env=disk, **settings)
        try:
            yield CrashPoint(operation, kind, acknowledged, recovered, disk)
        finally:
            _leave(disk, recovered)
        if kind is None:
            return


def _run(fn: Callable[[Engine], Any], db: Engine, disk: SimDisk) -> list[Any]:
    """What `fn` acknowledged. What it raises once the disk has stopped is no failure of its: it is dead by then."""
    acknowledged: list[Any] = []
    try:
        said = fn(db)
        if isinstance(said, Iterator):
            for value in said:
                if disk.stopped:
                    break
                acknowledged.append(value)
            if hasattr(said, "close"):
                said.close()
    except Exception:
        if not disk.stopped:
            raise
    return acknowledged


def _leave(disk: SimDisk, db: Engine) -> None:
    """An end that writes nothing."""
    disk.kill()
    with suppress(OSError):
        db.close()
