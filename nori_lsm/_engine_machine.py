"""`EngineMachine`: whatever is done to an engine, in any order, it holds what a dict would; after a crash, what one held before."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from errno import EIO, ENOSPC
from hashlib import shake_128
from itertools import count
from typing import Any, ClassVar, TypeVar, cast

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import nori_lsm
from nori_lsm._core import Engine, SimDisk, Snapshot
from nori_lsm._crash_points import CHEAP_TO_OPEN, PATH
from nori_lsm._history import History, WatchedEngine, differences, visible

__all__ = ["EngineMachine"]

Rule = TypeVar("Rule", bound=Callable[..., Any])

MAX_SNAPSHOTS = 4

keeps = st.sampled_from([0.0, 0.5, 1.0, None])
syncs = st.sampled_from([None, None, True, False])
ttls = st.sampled_from([10.0, 100.0, 1000.0])
# Keys that are prefixes of each other, and at the ends of the order.
any_keys = st.sampled_from([b"", b"\x00", b"a", b"a\x00", b"ab", b"b" * 300, b"\xff", b"\xff\xff"]) | st.binary(max_size=2)
any_values = st.builds(lambda machine, size: machine.new_value(size), st.runner(), st.sampled_from([0, 1, 100, 700, 5000]))


def _of(name: str) -> st.SearchStrategy[Any]:
    """The strategy that the machine has under this name."""
    return st.runner().flatmap(lambda machine: getattr(machine, name))


def _ours(**arguments: st.SearchStrategy[Any]) -> Callable[[Rule], Rule]:
    """A rule do_NAME that `off` may name."""

    def decorate(function: Rule) -> Rule:
        name = function.__name__.removeprefix("do_")
        make_rule: Any = rule  # Its overloads know no dict of strategies.
        made: Rule = make_rule(**arguments)(precondition(lambda self: name not in self.off)(function))
        return made

    return decorate


@dataclass(frozen=True)
class Trouble:
    """What awaits an attempt."""

    nth: int
    cut: str = ""  # "crash" or "kill"; "": a fault.
    keep: float | None = None
    again: int = 0  # The operation of the recovery that is stopped, too; 0: none.
    op: str = "any"
    errno: int = EIO
    short: bool = False


stops = st.builds(
    Trouble,
    nth=st.integers(1, 5) | st.integers(1, 60),
    cut=st.sampled_from(["crash", "kill"]),
    keep=keeps,
    again=st.just(0) | st.integers(1, 40),
)
faults = st.builds(
    Trouble,
    nth=st.integers(1, 8),
    op=st.sampled_from(["any", "log_publish", "log_sync", "log_reserve", "create", "write", "sync", "dir_sync", "read"]),
    errno=st.sampled_from([EIO, ENOSPC]),
    short=st.booleans(),
)


class EngineMachine(RuleBasedStateMachine):
    """A hypothesis state machine that owns a SimDisk and an engine on it. Subclass it; add rules and invariants.

    `db` is the engine. It notes what is written through it, by the rules here and by yours, so `model` is always what it must
    hold, and after a crash the model becomes one of the states that the engine's promises allow, or the test fails: a prefix
    of the commits, no older than what was synced (power cut) or acknowledged (kill), each batch whole or not at all.

    Rules are called do_NAME; `off` names those that are not wanted. Those that write use `keys`, `values`.
    """

    overrides: dict[str, Any] = {}  # noqa: RUF012  Of the config, at each open. Tables are small and opens cheap where it says nothing.
    sector: int = 512  # What the disk writes whole: 512 or 4096.
    path: str = PATH
    off: ClassVar[Collection[str]] = ()
    # Rules that use the engine by themselves. Off, they leave all the work to a subclass.
    WORK: ClassVar[tuple[str, ...]] = (
        *("put", "put_expiring", "delete", "delete_range", "batch", "ingest"),
        *("get", "scan", "snapshot", "look_at_snapshot"),
    )
    keys: ClassVar[st.SearchStrategy[bytes]] = any_keys  # A program with keys of its own: st.sampled_from([b"other/1", ...])
    values: ClassVar[st.SearchStrategy[bytes]] = any_values

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        unknown = sorted(name for name in cls.off if not hasattr(cls, f"do_{name}"))
        if unknown:
            raise TypeError(f"off names rules that do not exist: {', '.join(unknown)}")

    def __init__(self) -> None:
        super().__init__()
        self._disk: SimDisk | None = None
        self._history = History()
        self._numbers = count()
        self._troubles: list[Trouble] = []  # Of the next attempts.
        self._snapshots: list[tuple[Snapshot, dict[bytes, bytes]]] = []

    # ------------------------------------------------------------ for subclasses

    def opened(self, db: Engine) -> None:
        """Called after each open, when the model is as the engine is: make what stands on the engine here."""

    @property
    def disk(self) -> SimDisk:
        self._begin(0)
        assert self._disk is not None
        return self._disk

    @property
    def db(self) -> Engine:
        """The engine, all of it but its type: it is watched."""
        self._begin(0)
        return cast(Engine, self._watched)

    @property
    def model(self) -> dict[bytes, bytes]:
        """What the engine must hold now."""
        return visible(self._history.current, self._now_ms())

    def new_value(self, size: int) -> bytes:
        """Of this size or a little more; no two are the same, and half of each cannot be compressed."""
        number = b"%d." % next(self._numbers)
        return (number + shake_128(number).digest(size // 2)).ljust(size, b"v")

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """In this block the crash or fault strikes that do_stop or do_fault prepared. A crash ends the block and is recovered
        from; so is a fault, if it raised. What comes after the block is not told; what is at its end runs if all went well."""
        if not self._troubles:
            yield
            return
        trouble = self._troubles.pop(0)
        begun = self.disk.operations
        if trouble.cut:
            self.disk.stop_at(trouble.nth)
        else:
            self.disk.fail(trouble.op, trouble.nth, trouble.errno, short=trouble.short)
        failure: Exception | None = None
        try:
            yield
        except Exception as error:
            failure = error
        if self.disk.stopped is not None:
            self._cut(trouble.cut, trouble.keep)
            self._recover(is_power_cut=trouble.cut == "crash", trouble=trouble)
            return
        self.disk.clear_faults()
        if failure is not None and (trouble.cut or not _is_of_disk(failure)):
            raise failure
        if failure is not None or self._is_hurt():
            self.restart()
        elif trouble.nth > self.disk.operations - begun:
            self._troubles.insert(0, replace(trouble, nth=trouble.nth - (self.disk.operations - begun)))

    def crash(self, keep: float | None = None) -> None:
        """Cuts the power, and recovers. `keep`: see SimDisk.crash."""
        self._begin(0)
        self._cut("crash", keep)
        self._recover(is_power_cut=True)

    def kill(self) -> None:
        """Kills the process, and recovers."""
        self._begin(0)
        self._cut("kill", None)
        self._recover(is_power_cut=False)

    def reopen(self) -> None:
        """An orderly close, and an open."""
        self.db.close()
        self._recover(is_power_cut=False)

    def restart(self) -> None:
        """An end that may fail, as one after an error of the disk, and an open: nothing acknowledged is lost."""
        with suppress(OSError):
            self._engine.close()
        self._recover(is_power_cut=False)

    # ------------------------------------------------------------ inside

    def _now_ms(self) -> int:
        return round(self.disk.now * 1000)

    def _begin(self, seed: int) -> None:
        if self._disk is None:
            self._disk = SimDisk(seed, sector=self.sector)
            self._recover(is_power_cut=False)

    def _cut(self, cut: str, keep: float | None) -> None:
        if cut == "crash":
            self.disk.crash(keep)
        else:
            self.disk.kill()
        with suppress(OSError):
            self._engine.close()

    def _open(self) -> Engine:
        return nori_lsm.open(self.path, env=self.disk, **{**CHEAP_TO_OPEN, **self.overrides})

    def _recover(self, *, is_power_cut: bool, trouble: Trouble | None = None) -> None:
        for snapshot, _ in self._snapshots:
            snapshot.close()
        self._snapshots.clear()
        if trouble is not None and trouble.again:
            self.disk.stop_at(trouble.again)
            with suppress(OSError):
                self._engine = self._open()
                self._engine.flush()
            self._cut(trouble.cut, trouble.keep)
        self._engine = self._open()
        found, expected = dict(self._engine.scan()), self.model
        if not self._history.adopt(found, self._now_ms(), is_power_cut=is_power_cut):
            self._cut("kill", None)  # Nothing is left to tear down.
            raise AssertionError(f"not a prefix of the commits, or too short a one:\n{differences(found, expected)}")
        self._watched = WatchedEngine(self._engine, self._history, self.disk)
        self.opened(self.db)

    def _is_hurt(self) -> bool:
        return self._history.indeterminate is not None or self._engine.stats().poisoned is not None

    # ------------------------------------------------------------ rules

    @initialize(seed=st.integers(0, 1 << 32))
    def begin(self, seed: int) -> None:
        self._begin(seed)

    @_ours(key=_of("keys"), value=_of("values"), sync=syncs)
    def do_put(self, key: bytes, value: bytes, sync: bool | None) -> None:
        with self.attempt():
            self.db.put(key, value, sync=sync)

    @_ours(key=_of("keys"), value=_of("values"), ttl=ttls)
    def do_put_expiring(self, key: bytes, value: bytes, ttl: float) -> None:
        with self.attempt():
            self.db.put(key, value, ttl=ttl)

    @_ours(key=_of("keys"), sync=syncs)
    def do_delete(self, key: bytes, sync: bool | None) -> None:
        with self.attempt():
            self.db.delete(key, sync=sync)

    @_ours(start=_of("keys"), stop=_of("keys"), sync=syncs)
    def do_delete_range(self, start: bytes, stop: bytes, sync: bool | None) -> None:
        with self.attempt():
            self.db.delete_range(start, stop, sync=sync)

    @_ours(
        steps=st.lists(st.tuples(st.sampled_from(["put", "put", "delete", "delete_range"]), _of("keys"), _of("keys"), _of("values")), max_size=8),
        sync=syncs,
    )
    def do_batch(self, steps: list[tuple[str, bytes, bytes, bytes]], sync: bool | None) -> None:
        with self.attempt(), self.db.batch(sync=sync) as batch:
            for kind, key, other, value in steps:
                if kind == "put":
                    batch.put(key, value)
                elif kind == "delete":
                    batch.delete(key)
                else:
                    batch.delete_range(key, other)

    @_ours(pairs=st.lists(st.tuples(_of("keys"), _of("values")), max_size=8))
    def do_ingest(self, pairs: list[tuple[bytes, bytes]]) -> None:
        with self.attempt():
            assert self.db.ingest(pairs) == len(pairs)

    @_ours(seconds=st.sampled_from([1.0, 10.0, 500.0]))
    def do_wait(self, seconds: float) -> None:
        """Time passes: what has a time to live ends, intervals end."""
        self.disk.advance(seconds)

    @_ours()
    def do_sync(self) -> None:
        with self.attempt():
            self.db.sync()

    @_ours()
    def do_flush(self) -> None:
        with self.attempt():
            self.db.flush()

    @_ours(start=st.none() | _of("keys"), stop=st.none() | _of("keys"))
    def do_compact(self, start: bytes | None, stop: bytes | None) -> None:
        with self.attempt():
            self.db.compact(start, stop)

    @_ours(start=st.none() | _of("keys"), stop=st.none() | _of("keys"), reverse=st.booleans(), limit=st.none() | st.integers(0, 20))
    def do_scan(self, start: bytes | None, stop: bytes | None, reverse: bool, limit: int | None) -> None:
        within = [item for item in self.model.items() if (start is None or item[0] >= start) and (stop is None or item[0] < stop)]
        expected = sorted(within, reverse=reverse)[:limit]
        assert list(self.db.scan(start, stop, reverse=reverse, limit=limit)) == expected

    @_ours(key=_of("keys"))
    def do_get(self, key: bytes) -> None:
        expected = self.model.get(key)
        assert self.db.get(key) == expected and (key in self.db) == (expected is not None)

    @_ours()
    def do_snapshot(self) -> None:
        if len(self._snapshots) == MAX_SNAPSHOTS:
            self._snapshots.pop(0)[0].close()
        self._snapshots.append((self.db.snapshot(), self.model))

    @_ours(which=st.integers(0, MAX_SNAPSHOTS - 1))
    def do_look_at_snapshot(self, which: int) -> None:
        """One moment, whatever was written since."""
        for snapshot, items in self._snapshots[which : which + 1]:
            assert dict(snapshot) == items and list(snapshot.scan(reverse=True)) == sorted(items.items(), reverse=True)

    @_ours(keep=keeps)
    def do_crash(self, keep: float | None) -> None:
        self.crash(keep)

    @_ours()
    def do_kill(self) -> None:
        self.kill()

    @_ours()
    def do_reopen(self) -> None:
        self.reopen()

    @_ours(stops=st.lists(stops, min_size=1, max_size=4))
    def do_stop(self, stops: list[Trouble]) -> None:
        """All will end at the nth operation of the disk within attempts; some more attempts later it will again."""
        self._troubles = list(stops)

    @_ours(faults=st.lists(faults, min_size=1, max_size=2))
    def do_fault(self, faults: list[Trouble]) -> None:
        """The nth operation of a kind within attempts will fail."""
        self._troubles = list(faults)

    # ------------------------------------------------------------ always

    @invariant()
    def the_engine_holds_what_the_model_holds(self) -> None:
        assert dict(self.db.scan()) == self.model

    def teardown(self) -> None:
        """Overriding it: call this last."""
        if self._disk is None or self._engine.closed:
            return
        assert self._engine.verify().ok
        self.reopen()
        assert self._engine.verify().ok
        self._cut("kill", None)


def _is_of_disk(error: BaseException | None) -> bool:
    """An error of the disk, or what a program made of one."""
    while error is not None:
        if isinstance(error, OSError):
            return True
        error = error.__cause__ or error.__context__
    return False
