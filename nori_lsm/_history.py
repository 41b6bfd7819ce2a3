"""What an engine must hold: a dict with expiry, and the commits since the last that is promised to survive.

`WatchedEngine` stands before an engine and notes every write in a `History`, so that programs need not say what they write.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from nori_lsm._core import Batch, Engine, SimDisk

__all__ = ["Commit", "History", "Operation", "State", "WatchedBatch", "WatchedEngine", "delete", "delete_range", "put", "visible"]

Entry = tuple[bytes, "int | None"]  # Value; when it expires, in milliseconds of the wall clock.
State = dict[bytes, Entry]
Operation = Callable[[State], None]
Commit = list[Operation]


def put(key: bytes, value: bytes, expires_ms: int | None = None) -> Operation:
    def apply(state: State) -> None:
        state[key] = (value, expires_ms)

    return apply


def delete(key: bytes) -> Operation:
    def apply(state: State) -> None:
        state.pop(key, None)

    return apply


def delete_range(start: bytes | None, stop: bytes | None) -> Operation:
    def apply(state: State) -> None:
        for key in [key for key in state if (start is None or key >= start) and (stop is None or key < stop)]:
            del state[key]

    return apply


def visible(state: State, now_ms: int) -> dict[bytes, bytes]:
    return {key: value for key, (value, expires_ms) in state.items() if expires_ms is None or expires_ms > now_ms}


@dataclass
class History:
    """`durable` and then any number of `pending` commits, in order, is what a power cut may leave; all of them, what a kill
    may leave; and perhaps `indeterminate`, a commit whose call failed in the middle."""

    durable: State = field(default_factory=dict)
    pending: list[Commit] = field(default_factory=list)
    current: State = field(default_factory=dict)
    indeterminate: Commit | None = None

    def commit(self, operations: Commit, *, synced: bool) -> None:
        self.pending.append(operations)
        for operation in operations:
            operation(self.current)
        if synced:
            self.sync()

    def sync(self) -> None:
        """All that was committed is promised to survive."""
        self.durable = dict(self.current)
        self.pending.clear()

    def adopt(self, found: dict[bytes, bytes], now_ms: int, *, is_power_cut: bool) -> bool:
        """Whether `found` is what a crash may leave. If so, it is what there is from now on."""
        commits = self.pending if self.indeterminate is None else [*self.pending, self.indeterminate]
        least = 0 if is_power_cut else len(self.pending)
        state = dict(self.durable)
        for count in range(len(commits) + 1):
            if count > 0:
                for operation in commits[count - 1]:
                    operation(state)
            if count >= least and visible(state, now_ms) == found:
                self.current = {key: entry for key, entry in state.items() if key in found}
                self.pending = commits[:count]
                self.indeterminate = None
                if is_power_cut:
                    self.sync()  # What is on the disk after a power cut is durable.
                return True
        return False


def bytes_of(data: Any) -> bytes:
    """As the engine takes it: any buffer. bytes() would take a number, too."""
    return data if type(data) is bytes else memoryview(data).tobytes()


def pairs_of(source: Any) -> list[tuple[Any, Any]]:
    """What dict.update would take from it."""
    if hasattr(source, "keys"):
        return [(key, source[key]) for key in source.keys()]
    return [(key, value) for key, value in source]


class WatchedEngine:
    """All that an Engine is, but its type."""

    def __init__(self, engine: Engine, history: History, disk: SimDisk) -> None:
        self._engine, self._history, self._disk = engine, history, disk
        self._is_synced = engine.config.wal.durability == "sync"
        self._default_ttl: float | None = engine.config.tombstones.ttl_default_secs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def __repr__(self) -> str:
        return f"<watched {self._engine!r}>"

    # ------------------------------------------------------------ reads that syntax asks for

    def __getitem__(self, key: Any, /) -> bytes:
        return self._engine[key]

    def __contains__(self, key: object, /) -> bool:
        return key in self._engine

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._engine)

    def __reversed__(self) -> Iterator[bytes]:
        return reversed(self._engine)

    def __len__(self) -> int:
        return len(self._engine)

    def __bool__(self) -> bool:
        return bool(self._engine)

    def __eq__(self, other: object, /) -> bool:
        return self is other or self._engine == other

    __hash__ = None  # type: ignore[assignment]

    # ------------------------------------------------------------ writes

    def _now_ms(self) -> int:
        return round(self._disk.now * 1000)

    def _put(self, key: Any, value: Any, ttl: float | None = None) -> Operation:
        ttl = self._default_ttl if ttl is None else ttl
        expires_ms = None if ttl is None or math.isinf(ttl) else self._now_ms() + max(int(ttl * 1000), 1)
        return put(bytes_of(key), bytes_of(value), expires_ms)

    def _write(self, operations: Commit, sync: bool | None, call: Callable[[], Any]) -> Any:
        try:
            result = call()
        except BaseException as error:
            if getattr(error, "outcome", None) == "indeterminate":
                self._history.indeterminate = operations
            raise
        self._history.commit(operations, synced=self._is_synced if sync is None else sync)
        return result

    def _holds(self, key: Any) -> bool:
        return bytes_of(key) in visible(self._history.current, self._now_ms())

    def put(self, key: Any, value: Any, /, *, sync: bool | None = None, ttl: float | None = None) -> None:
        self._write([self._put(key, value, ttl)], sync, lambda: self._engine.put(key, value, sync=sync, ttl=ttl))

    def __setitem__(self, key: Any, value: Any, /) -> None:
        self.put(key, value)

    def delete(self, key: Any, /, *, sync: bool | None = None) -> None:
        self._write([delete(bytes_of(key))], sync, lambda: self._engine.delete(key, sync=sync))

    def delete_range(self, start: Any, stop: Any, /, *, sync: bool | None = None) -> None:
        first = None if start is None else bytes_of(start)
        last = None if stop is None else bytes_of(stop)
        self._write([delete_range(first, last)], sync, lambda: self._engine.delete_range(start, stop, sync=sync))

    def clear(self) -> None:
        self._write([delete_range(None, None)], None, self._engine.clear)

    def _remove(self, key: Any, call: Callable[[], Any]) -> Any:
        """Where there is nothing to remove, nothing is written."""
        return self._write([delete(bytes_of(key))], None, call) if self._holds(key) else call()

    def __delitem__(self, key: Any, /) -> None:
        self._remove(key, lambda: self._engine.__delitem__(key))

    def pop(self, key: Any, /, *default: Any) -> Any:
        return self._remove(key, lambda: self._engine.pop(key, *default))

    def popitem(self) -> tuple[bytes, bytes]:
        last = max(visible(self._history.current, self._now_ms()), default=None)
        found: tuple[bytes, bytes] = self._engine.popitem() if last is None else self._remove(last, self._engine.popitem)
        return found

    def setdefault(self, key: Any, default: Any, /) -> bytes:
        if self._holds(key):
            return self._engine.setdefault(key, default)
        value: bytes = self._write([self._put(key, default)], None, lambda: self._engine.setdefault(key, default))
        return value

    def update(self, other: Any = (), /) -> None:
        """In batches that are surely one of the engine's each."""
        batch: list[tuple[Any, Any]] = []
        size = 0
        for key, value in pairs_of(other):
            batch.append((key, value))
            size += len(bytes_of(key)) + len(bytes_of(value))
            if size >= 256 << 10:
                self._update(batch)
                batch, size = [], 0
        if batch:
            self._update(batch)

    def _update(self, batch: list[tuple[Any, Any]]) -> None:
        self._write([self._put(key, value) for key, value in batch], None, lambda: self._engine.update(batch))

    def __ior__(self, other: Any, /) -> WatchedEngine:
        self.update(other)
        return self

    def ingest(self, items: Any, /, **options: Any) -> int:
        taken = pairs_of(items)
        operations = [self._put(key, value) for key, value in taken]
        count: int = self._write(operations, True if taken else False, lambda: self._engine.ingest(taken, **options))
        return count

    def batch(self, *, sync: bool | None = None) -> WatchedBatch:
        return WatchedBatch(self, self._engine.batch(sync=sync), sync)

    def sync(self) -> None:
        self._engine.sync()
        self._history.sync()

    # ------------------------------------------------------------ the end

    def close(self) -> None:
        was_closed = self._engine.closed
        self._engine.close()
        if not was_closed:
            self._history.sync()

    shutdown = close

    def __enter__(self) -> WatchedEngine:
        self._engine.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        was_closed = self._engine.closed
        self._engine.__exit__(kind, value, traceback)
        if not was_closed:
            self._history.sync()


class WatchedBatch:
    def __init__(self, engine: WatchedEngine, batch: Batch, sync: bool | None) -> None:
        self._engine, self._batch, self._sync = engine, batch, sync
        self._operations: Commit = []

    def __len__(self) -> int:
        return len(self._batch)

    def __repr__(self) -> str:
        return f"<watched {self._batch!r}>"

    def put(self, key: Any, value: Any, /, *, ttl: float | None = None) -> None:
        self._batch.put(key, value, ttl=ttl)
        self._operations.append(self._engine._put(key, value, ttl))

    def __setitem__(self, key: Any, value: Any, /) -> None:
        self.put(key, value)

    def delete(self, key: Any, /) -> None:
        self._batch.delete(key)
        self._operations.append(delete(bytes_of(key)))

    __delitem__ = delete

    def delete_range(self, start: Any, stop: Any, /) -> None:
        self._batch.delete_range(start, stop)
        first = None if start is None else bytes_of(start)
        self._operations.append(delete_range(first, None if stop is None else bytes_of(stop)))

    def clear(self) -> None:
        self._batch.clear()
        self._operations = []

    def _commit(self, call: Callable[[], Any]) -> Any:
        """An empty batch writes nothing; one that failed and was not applied may be tried again."""
        try:
            if len(self._batch) == 0:
                return call()
            return self._engine._write(self._operations, self._sync, call)
        finally:
            if len(self._batch) == 0:
                self._operations = []

    def commit(self) -> int:
        sequence: int = self._commit(self._batch.commit)
        return sequence

    def __enter__(self) -> WatchedBatch:
        self._batch.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        if kind is None:
            self._commit(lambda: self._batch.__exit__(None, None, None))
        else:
            self._batch.__exit__(kind, value, traceback)
            self._operations = []


def differences(found: dict[bytes, bytes], expected: dict[bytes, bytes], limit: int = 10) -> str:
    keys: Iterable[bytes] = sorted(key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key))
    lines = [f"  {key!r}: {found.get(key)!r}, before the crash {expected.get(key)!r}" for key in keys]
    return "\n".join(lines[:limit] + (["  ..."] if len(lines) > limit else []))
