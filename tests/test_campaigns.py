"""The campaigns' judge finds what it should, and the soak runs. The campaigns themselves take longer: tests/README.md."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from campaigns.judge import Journal, Match, State, Violation, judge, judge_order
from campaigns.soak import Soak
from campaigns.workload import NO_WRITER, RECORD, Load, operation

import nori_lsm

SEED = 5
OPERATIONS = 150


def written(path: Path, count: int = OPERATIONS) -> nori_lsm.Engine:
    """A database that holds one writer's state after 'count' operations."""
    db = nori_lsm.open(path)
    load = Load(db, SEED, [0], None, -1)
    for number in range(count):
        what = operation(SEED, 0, number)
        if what.kind != "checkpoint":
            load.apply(what, 0, number)
    return db


def held(db: nori_lsm.Engine, least: int = OPERATIONS - 1, most: int = OPERATIONS) -> int:
    """The state that the judge finds."""
    return judge(db, [State(SEED, 0)], [least], [most])[0].state.number


def test_what_the_load_wrote_is_the_state_that_the_judge_expects(path: Path) -> None:
    with written(path) as db:
        assert held(db) == OPERATIONS - 1


def test_the_load_is_mixed() -> None:
    kinds = {"put", "batch", "delete_range", "ingest", "pop", "setdefault", "put_expired", "checkpoint", "snapshot"}
    assert kinds <= {operation(SEED, 0, number).kind for number in range(400)}


def test_a_lost_write_is_found(path: Path) -> None:
    with written(path, OPERATIONS - 10) as db, pytest.raises(Violation, match="holds no state"):
        held(db)


def test_a_key_that_is_gone_is_found(path: Path) -> None:
    with written(path) as db:
        db.popitem()
        with pytest.raises(Violation, match="1 keys differ"):
            held(db)


def test_part_of_a_batch_is_found(path: Path) -> None:
    number = next(n for n in range(OPERATIONS, 400) if operation(SEED, 0, n).kind == "batch")
    with written(path, number) as db:
        state = State(SEED, 0)
        while state.number < number - 1:
            state.advance()
        changes = operation(SEED, 0, number).changes
        key, value = next(c for c in changes if len(c) == 2 and c[1] and state.contents.get(c[0]) != c[1])
        db[key] = value
        with pytest.raises(Violation, match="holds no state"):
            held(db, number - 1, number)


def test_a_key_that_nobody_wrote_is_found(path: Path) -> None:
    with written(path) as db:
        db[b"x"] = b"y"
        with pytest.raises(Violation, match="P4"):
            held(db)


def test_a_hole_in_the_order_of_writes_is_found() -> None:
    journal = Journal([0, 0])
    journal.note(0, 0, 10, False)
    journal.note(1, 0, 11, False)
    none, first = Match(State(SEED, 0), -1), State(SEED, 1)
    first.advance()
    judge_order(journal, [Match(State(SEED, 0), 0), Match(first, 0)])  # The first one may have changed nothing.
    with pytest.raises(Violation, match="P2"):
        judge_order(journal, [none, Match(first, 0)])


def test_a_durable_write_makes_durable_what_came_before_it() -> None:
    journal = Journal([0, 7])
    journal.note(0, 0, 10, False)
    journal.note(1, 7, 12, False)
    journal.note(0, 1, 11, True)
    assert journal.durable == [1, 6]
    journal.note(1, 8, 0, True)
    assert journal.durable == [1, 8]


def test_what_is_said_to_be_synced_is_durable_whether_it_was_told_before_or_after() -> None:
    journal = Journal([0, 7])
    journal.note(0, 0, 10, False)
    journal.note(1, 7, 12, False)
    journal.note_synced(11)
    assert journal.durable == [0, 6]
    journal.note(0, 1, 11, False)  # It returned before the look, and said so behind it.
    assert journal.durable == [1, 6]
    journal.note_synced(12)
    assert journal.durable == [1, 7]


def test_the_load_tells_what_the_interval_makes_durable(path: Path) -> None:
    read_end, write_end = os.pipe()
    with nori_lsm.open(path, wal__durability="interval", wal__sync_interval_ms=1) as db:
        load = Load(db, SEED, [0], None, write_end)

        def watch() -> None:
            with suppress(nori_lsm.ClosedError):
                load.watch_synced()

        watcher = threading.Thread(target=watch)
        watcher.start()
        with db.batch() as batch:
            batch.put(b"a", b"1")
        journal = Journal([0])
        journal.note(0, 0, batch.commit(), False)
        assert journal.durable == [-1]
        while journal.durable == [-1]:
            writer, _, sequence, _ = RECORD.unpack(os.read(read_end, RECORD.size))
            assert writer == NO_WRITER
            journal.note_synced(sequence)
    watcher.join(60)
    assert journal.durable == [0] and not watcher.is_alive()
    os.close(read_end)
    os.close(write_end)


def test_some_kills(tmp_path: Path) -> None:
    soak = Soak(tmp_path / "soak", seed=11)
    for _ in range(4):
        soak.kill_once()
    assert soak.kills == 4 and soak.operations > 0
