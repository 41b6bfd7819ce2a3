"""What users test their own programs with: the disk that loses power, a crash at every operation."""

from __future__ import annotations

import errno
import gc
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule, run_state_machine_as_test

import nori_lsm
from nori_lsm._engine_machine import Trouble
from nori_lsm.testing import CrashPoint, EngineMachine, SimDisk, crash_points

# ---------------------------------------------------------------- SimDisk


def everything_on(disk: SimDisk) -> dict[str, bytes]:
    names = [f"/db/{name}" for name in disk.list("/db") if name != "wal"]
    names += [f"/db/wal/{name}" for name in disk.list("/db/wal")]
    return {name: disk.read_file(name) for name in names}


@pytest.mark.parametrize("cut", [SimDisk.crash, SimDisk.kill])
def test_an_engine_is_dead_with_its_disk_and_the_next_opens_at_once(disk: SimDisk, cut: Any) -> None:
    db = nori_lsm.open("/db", env=disk, wal__durability="sync")
    db[b"a"] = b"1"
    batch, scan, snapshot = db.batch(), db.scan(), db.snapshot()
    batch[b"b"] = b"2"
    with pytest.raises(nori_lsm.LockedError):
        nori_lsm.open("/db", env=disk)
    cut(disk)
    for call in (
        lambda: db.put(b"b", b""),
        lambda: db.delete_range(None, None),
        lambda: db.get(b"a"),
        lambda: b"a" in db,
        lambda: list(db),
        lambda: list(db.scan()),
        lambda: len(db),
        lambda: db.ingest([(b"c", b"")]),
        lambda: list(scan),
        lambda: snapshot[b"a"],
        batch.commit,
        db.snapshot,
        db.sync,
        db.flush,
        db.compact,
        db.verify,
    ):
        with pytest.raises(OSError):
            call()
    with nori_lsm.open("/db", env=disk) as again:
        assert dict(again) == {b"a": b"1"}


@pytest.mark.parametrize("cut", [SimDisk.crash, SimDisk.kill])
def test_close_and_finalizers_of_the_dead_do_nothing_on_the_disk(disk: SimDisk, cut: Any) -> None:
    closed, forgotten = nori_lsm.open("/db", env=disk), nori_lsm.open("/other", env=disk)
    for db in (closed, forgotten):
        db.update({b"%d" % number: b"value" for number in range(100)})
    cut(disk)
    before, operations = everything_on(disk), disk.operations
    with suppress(OSError):
        closed.close()
    assert closed.closed
    del db
    with pytest.warns(ResourceWarning):
        del forgotten
        gc.collect()
    assert everything_on(disk) == before and disk.operations == operations
    nori_lsm.open("/db", env=disk).close()
    nori_lsm.open("/other", env=disk).close()


def test_a_power_cut_keeps_what_was_synced_and_of_the_rest_what_keep_says(disk: SimDisk) -> None:
    for keep, expected in ((0.0, {b"a"}), (1.0, {b"a", b"b"})):
        db = nori_lsm.open("/db", env=disk)
        db.clear()
        db.put(b"a", b"", sync=True)
        db.put(b"b", b"")
        disk.crash(keep=keep)
        with suppress(OSError):
            db.close()
        with nori_lsm.open("/db", env=disk) as db:
            assert set(db) == expected


def test_the_nth_operation_of_a_kind_fails_with_its_errno(disk: SimDisk) -> None:
    db = nori_lsm.open("/db", env=disk, wal__durability="os", wal__mapped=False)
    disk.fail("log_publish", 3, errno.EDQUOT)
    db[b"1"] = db[b"2"] = b""
    with pytest.raises(OSError) as caught:
        db[b"3"] = b""
    assert caught.value.errno == errno.EDQUOT
    db.close() if not db.stats().poisoned else disk.kill()
    with suppress(OSError):
        db.close()
    with nori_lsm.open("/db", env=disk) as db:
        assert {b"1", b"2"} <= set(db)


def test_a_disk_says_what_stopped_it_and_what_time_it_is(disk: SimDisk) -> None:
    db = nori_lsm.open("/db", env=disk)
    began = disk.now
    db.put(b"gone in a minute", b"", ttl=60)
    disk.advance(59.5)
    assert b"gone in a minute" in db
    disk.advance(0.5)
    assert b"gone in a minute" not in db
    disk.advance_wall(-10)
    assert disk.now == began + 50

    assert disk.stopped is None
    disk.stop_at(1)
    assert disk.stopped is None
    with pytest.raises(OSError):
        db.put(b"key", b"", sync=True)
    assert disk.stopped == "log_publish"
    disk.kill()
    assert disk.stopped is None
    with suppress(OSError):
        db.close()


# ---------------------------------------------------------------- crash_points


def pairs(db: nori_lsm.Engine) -> Iterator[int]:
    """Two keys at a time, on disk before they are acknowledged."""
    for number in range(10):
        with db.batch(sync=True) as batch:
            batch[b"left %d" % number] = batch[b"right %d" % number] = b"x" * 100
        yield number


@pytest.mark.parametrize("sector", [512, 4096])
@pytest.mark.parametrize("how", [{}, {"keep": 0.0}, {"keep": 1.0}, {"kill": True}, {"wal__mapped": False}])
def test_what_was_acknowledged_is_there_at_every_crash_point(how: dict[str, Any], sector: int) -> None:
    points = 0
    for point in crash_points(pairs, sector=sector, **how):
        points += 1
        assert point.operation == points
        assert point.acknowledged == list(range(len(point.acknowledged)))
        for number in range(10):
            there = {b"left %d" % number in point.db, b"right %d" % number in point.db}
            assert len(there) == 1, "a batch is there whole or not at all"
            assert there == {True} or number not in point.acknowledged
    assert points > 20 and point.kind is None and len(point.acknowledged) == 10


def test_the_points_of_a_script_are_its_operations() -> None:
    def script(db: nori_lsm.Engine) -> None:
        db.put(b"a", b"")
        db.sync()

    points = [(point.operation, point.kind) for point in crash_points(script)]
    assert points[0] == (1, "log_publish") and (2, "log_sync") in points
    assert points[-1] == (len(points), None)
    with pytest.raises(StopIteration):
        next(crash_points(script, operations=[]))
    chosen = [point.operation for point in crash_points(script, operations=range(2, 10**9))]
    assert chosen == [operation for operation, _ in points[1:]]
    with pytest.raises(ValueError):
        list(crash_points(script, operations=[0]))


def unsynced(db: nori_lsm.Engine) -> Iterator[bytes]:
    for number in range(60):
        db[b"%d" % number] = b"x" * 300
        yield b"%d" % number


def test_points_follow_from_the_seed() -> None:
    def survivors(seed: int, **chosen: Any) -> dict[int, list[bytes]]:
        return {point.operation: list(point.db) for point in crash_points(unsynced, seed=seed, **chosen)}

    first = survivors(1)
    assert first == survivors(1)
    assert first != survivors(2)
    assert survivors(1, operations=[17])[17] == first[17]
    lost = {60 - len(keys) for operation, keys in first.items() if operation > 60}
    assert len(lost) > 1


def test_a_kill_loses_nothing_that_was_written() -> None:
    for point in crash_points(unsynced, kill=True):
        assert set(point.db) >= set(point.acknowledged)


def test_prepared_state_is_durable_and_has_no_crash_points() -> None:
    def prepare(db: nori_lsm.Engine) -> None:
        for number in range(500):
            db[b"prepared %03d" % number] = b"x" * 100

    def script(db: nori_lsm.Engine) -> Iterator[int]:
        db.delete(b"prepared 000", sync=True)
        yield 1

    operations = 0
    for point in crash_points(script, prepare=prepare, keep=0.0):
        operations += 1
        assert len(point.db) in (499, 500)
        assert not point.acknowledged or len(point.db) == 499
    assert operations < 10


def test_what_a_script_does_after_the_power_is_gone_does_not_count() -> None:
    finally_ran = []

    def script(db: nori_lsm.Engine) -> Iterator[str]:
        try:
            try:
                db.put(b"key", b"", sync=True)
            except OSError:
                yield "a lie"
            yield "done"
            raise_if_gone(db)
        finally:
            finally_ran.append(True)

    def raise_if_gone(db: nori_lsm.Engine) -> None:
        try:
            db.put(b"other", b"", sync=True)
        except OSError:
            raise RuntimeError("wrapped") from None

    seen = [(point.acknowledged, b"key" in point.db) for point in crash_points(script, keep=0.0)]
    assert seen[0] == ([], False)
    assert ([], True) not in seen[-1:] and all(there or not said for said, there in seen)
    assert all(said in ([], ["done"]) for said, _ in seen)
    assert len(finally_ran) == len(seen)


def test_a_script_that_fails_by_itself_fails_the_test() -> None:
    def script(db: nori_lsm.Engine) -> None:
        db[b"key"] = b""
        raise KeyError("a mistake")

    with pytest.raises(KeyError, match="a mistake"):
        list(crash_points(script))


def test_a_script_may_close_its_engine() -> None:
    def script(db: nori_lsm.Engine) -> Iterator[int]:
        with db:
            db[b"key"] = b"value"
        yield 1

    points = [(point.kind, point.acknowledged, b"key" in point.db) for point in crash_points(script, keep=0.0)]
    assert points[0][2] is False and points[-1] == (None, [1], True)
    assert {"create", "write", "sync", "dir_sync"} <= {kind for kind, _, _ in points if kind}


def test_overrides_win_over_what_makes_opening_cheap() -> None:
    def script(db: nori_lsm.Engine) -> None:
        assert db.config.wal.segment_bytes == 128 << 10 and db.config.wal.durability == "sync"
        assert db.config.resources.block_cache_mib == 1

    for point in crash_points(script, wal__segment_bytes=128 << 10, wal__durability="sync"):
        script(point.db)
    with pytest.raises(TypeError):
        list(crash_points(script, no_such_option=1))


def test_a_point_is_open_until_the_next_and_says_where_it_is() -> None:
    points: list[CrashPoint[int]] = list(crash_points(pairs, operations=[1, 3, 10**6]))
    assert all(point.db.closed for point in points)
    assert repr(points[0]) == "<CrashPoint before operation 1, log_publish: 0 acknowledged>"
    assert repr(points[-1]) == "<CrashPoint after the last operation: 10 acknowledged>"
    iterator = crash_points(pairs)
    point = next(iterator)
    point.db[b"usable"] = b""
    iterator.close()  # type: ignore[attr-defined]
    assert point.db.closed


def test_crashing_needs_no_thread() -> None:
    before = threading.active_count()
    for _ in crash_points(unsynced):
        assert threading.active_count() == before


def test_a_point_stands_for_the_engine_that_was_recovered() -> None:
    for db in crash_points(pairs, kill=True):
        assert dict(db) == dict(db.items()) == dict(db.db) and list(db) == list(db.scan().only_keys())
        assert db == db.db == dict(db) and len(db) >= 2 * len(db.acknowledged) and bool(db) == (len(db) > 0)
        db[b"more"] = b"1"
        assert b"more" in db and db[b"more"] == db.get(b"more") == b"1" and db.verify().ok
        assert list(reversed(db)) == list(db)[::-1]
        del db[b"more"]
        assert b"more" not in db and not db.closed
        with pytest.raises(AttributeError, match="no_such_name"):
            _ = db.no_such_name


# ---------------------------------------------------------------- EngineMachine

quick = settings(max_examples=60, stateful_step_count=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def run(machine: type[EngineMachine], chosen: settings = quick) -> None:
    run_state_machine_as_test(machine, settings=chosen)


def fails(machine: type[EngineMachine]) -> str:
    """Why it fails; without shrinking and without the example's print."""
    phases = [phase for phase in Phase if phase not in (Phase.shrink, Phase.explain)]
    with pytest.raises(AssertionError) as caught:
        run(machine, settings(quick, max_examples=1000, phases=phases, database=None, print_blob=False))
    return str(caught.value)


# Rules that a quick find does not need.
asides = ("get", "scan", "snapshot", "look_at_snapshot", "put_expiring", "ingest", "sync", "flush", "compact", "reopen", "kill", "wait")


class Counted(EngineMachine):
    """Every rule is used, and trouble strikes."""

    seen: ClassVar[Counter[str]] = Counter()

    def opened(self, db: nori_lsm.Engine) -> None:
        self.seen["opened"] += 1
        assert dict(db) == self.model

    def _cut(self, cut: str, keep: float | None) -> None:
        self.seen[f"{cut} while {self.disk.stopped or 'idle'}"] += 1
        super()._cut(cut, keep)

    def restart(self) -> None:
        self.seen["restart after a fault"] += 1
        super().restart()


@pytest.mark.parametrize("sector, config", [(512, {}), (4096, {"wal__durability": "sync", "wal__mapped": False})])
def test_an_engine_holds_its_promises_whatever_is_done(sector: int, config: dict[str, Any]) -> None:
    class Machine(Counted):
        seen = Counter()
        overrides = config

    Machine.sector = sector
    run(Machine)
    # What hypothesis draws depends on the modules that are loaded, too: how often is not to be told.
    assert Machine.seen["opened"] > 100 and Machine.seen["restart after a fault"] > 0, Machine.seen
    cuts = {what.rpartition(" ")[2] for what in Machine.seen if " while " in what}
    assert len(cuts & {"log_publish", "log_sync", "write", "sync", "unlink", "create", "rename"}) > 2, Machine.seen


def test_a_machine_finds_an_engine_that_loses_or_invents() -> None:
    class Loses(EngineMachine):
        @rule(key=EngineMachine.keys)
        def behind_the_model(self, key: bytes) -> None:
            self._engine.delete(key)

    class Invents(EngineMachine):
        def _open(self) -> nori_lsm.Engine:
            engine = super()._open()
            if self.disk.count("lock") > 2:
                engine[b"invented"] = b""
            return engine

    class PromisesTooMuch(EngineMachine):
        off = asides

        @rule()
        def forget_to_sync(self) -> None:
            self._history.sync()

    class Tears(EngineMachine):
        """A batch that is two."""

        off = (*asides, "put", "batch", "delete", "delete_range", "crash", "fault")

        @rule()
        def batch_in_two(self) -> None:
            with self.attempt():
                first, second = self._watched._put(b"first", b""), self._watched._put(b"second", b"")
                self._watched._write([first, second], None, self.two_puts)

        def two_puts(self) -> None:
            self._engine[b"first"] = b""
            self._engine[b"second"] = b""

    assert "None, before the crash" in fails(Loses)
    assert "b'invented'" in fails(Invents)
    assert "too short a one" in fails(PromisesTooMuch)
    assert "not a prefix" in fails(Tears)


def test_rules_can_be_switched_off_and_keys_confined() -> None:
    class Machine(EngineMachine):
        off = ("delete_range", "crash", "kill", "stop", "fault", "reopen")
        keys = st.sampled_from([b"other/1", b"other/2"])
        path = "/elsewhere"
        opens = 0

        def opened(self, db: nori_lsm.Engine) -> None:
            type(self).opens += 1
            assert db.path == "/elsewhere"

        def do_put_expiring(self) -> None:
            raise AssertionError("a method in the place of a rule is no rule")

        @invariant()
        def confined(self) -> None:
            assert set(self.model) <= {b"other/1", b"other/2"}

    run(Machine, settings(quick, max_examples=20))
    assert Machine.opens <= 60  # One to begin with, one in teardown; hypothesis adds a few runs.
    with pytest.raises(TypeError, match="no_such_rule"):
        type("Wrong", (EngineMachine,), {"off": ("no_such_rule",)})


def test_what_a_program_writes_is_in_the_model_however_it_writes() -> None:
    machine = EngineMachine()
    db = machine.db
    db[b"a"] = b"1"
    db.update({b"b": bytearray(b"2"), b"c": memoryview(b"3")})
    db |= [(b"d", b"4")]
    db.ingest({b"e": b"5", b"f": b"6"})
    assert db.setdefault(b"g", b"7") == b"7" and db.setdefault(b"a", b"8") == b"1"
    assert db.pop(b"b") == b"2" and db.pop(b"b", None) is None and db.popitem() == (b"g", b"7")
    del db[b"c"]
    with pytest.raises(KeyError):
        del db[b"c"]
    with pytest.raises(TypeError):
        db[b"number"] = 5  # type: ignore[assignment]
    with db.batch() as batch:
        batch[b"h"] = b"9"
        del batch[b"a"]
        batch.delete_range(b"e", b"f")
    with suppress(ZeroDivisionError), db.batch() as batch:
        batch[b"discarded"] = b""
        raise ZeroDivisionError
    db.put(b"short", b"", ttl=5)
    assert machine.model == dict(db) == {b"d": b"4", b"f": b"6", b"h": b"9", b"short": b""}
    assert db == machine.model and len(db) == 4 and list(reversed(db)) == sorted(machine.model, reverse=True) and b"d" in db
    machine.disk.advance(5)
    assert b"short" not in machine.model
    machine.crash(keep=0.0)
    assert machine.model == dict(machine.db)
    machine.db.clear()
    machine.reopen()
    assert machine.model == dict(machine.db) == {} and not machine.db
    machine.teardown()


def test_an_attempt_ends_where_the_disk_stops_and_goes_on_recovered() -> None:
    machine = EngineMachine()
    told: list[int] = []
    machine.do_stop(stops=[Trouble(12, cut="kill", again=3)])
    for number in range(20):
        with machine.attempt():
            machine.db.put(b"%d" % number, b"", sync=True)
            told.append(number)
    assert len(told) >= 19 and not machine._troubles
    assert {int(key) for key in machine.db} >= set(told)
    machine.do_fault(faults=[Trouble(1, op="log_sync", errno=errno.EIO)])
    with machine.attempt():
        machine.db.sync()
        machine.db.put(b"failed", b"", sync=True)
        told.append(-1)
    assert -1 not in told and not machine.db.closed
    with pytest.raises(AssertionError), machine.attempt():
        raise AssertionError("not the disk's")
    machine.teardown()


def test_without_hypothesis_the_machine_says_what_is_missing() -> None:
    program = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "from nori_lsm.testing import *\n"
        "from nori_lsm import testing\n"
        "SimDisk(), crash_points\n"
        "try: testing.EngineMachine\n"
        "except ImportError as error: assert error.name == 'hypothesis' and 'pip install hypothesis' in str(error), error\n"
        "else: raise SystemExit('made from nothing')\n"
        "assert not hasattr(testing, 'Missing')\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# ---------------------------------------------------------------- docs/testing.md

GUIDE = (Path(__file__).parent.parent / "docs" / "testing.md").read_text("utf-8")


def example(*changes: tuple[str, str]) -> dict[str, Any]:
    """What the guide's code makes, with changes: bugs that it must find."""
    program = "\n".join(part.partition("```")[0] for part in GUIDE.split("```python\n")[1:])
    for old, new in changes:
        assert program.count(old) == 1, old
        program = program.replace(old, new)
    made: dict[str, Any] = {"__name__": "guide"}
    exec(compile(program, "docs/testing.md", "exec"), made)
    return made


SYNC_IS_MISSING = ("self.db.batch(sync=True)", "self.db.batch()")
TWO_WRITES = (
    """        with self.db.batch(sync=True) as batch:  # Together, and on disk before anybody is told.
            batch[b"order/" + order] = b"placed"
            batch[b"outbox/" + order] = b"Thank you for order " + order
""",
    """        self.db.put(b"order/" + order, b"placed", sync=True)
        self.db.put(b"outbox/" + order, b"Thank you for order " + order, sync=True)
""",
)
MARKED_IN_TWO_WRITES = (
    """            batch.delete(b"outbox/" + order)
""",
    """            pass
        self.db.delete(b"outbox/" + order)
""",
)
PLANTED = {
    "a sync is missing": (SYNC_IS_MISSING, "placed b'.*', and forgotten"),
    "two writes": (TWO_WRITES, "is b'placed', its letter is gone"),
    "marked in two writes": (MARKED_IN_TWO_WRITES, "is b'confirmed', its letter is there"),
}


def test_the_guide_s_example_holds() -> None:
    made = example()
    made["test_nothing_told_is_forgotten"]()
    run(made["OutboxMachine"])
    assert GUIDE.count("\n") < 150


@pytest.mark.parametrize("bug", PLANTED)
def test_the_guide_s_crash_points_find(bug: str) -> None:
    change, finding = PLANTED[bug]
    with pytest.raises(AssertionError, match=finding):
        example(change)["test_nothing_told_is_forgotten"]()


@pytest.mark.parametrize("bug", PLANTED)
def test_the_guide_s_machine_finds(bug: str) -> None:
    change, finding = PLANTED[bug]
    assert re.search(finding, fails(example(change)["OutboxMachine"]))
