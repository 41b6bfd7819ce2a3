"""Events: what they say, and how they reach who watches."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import nori_lsm
from nori_lsm import Event
from nori_lsm.testing import SimDisk
from tests_support import SMALL, fill, flush_seen, wait_until

@pytest.fixture
def small(path: Path) -> Iterator[nori_lsm.Engine]:
    with nori_lsm.open(path, **SMALL) as engine:
        yield engine


def threads_of_events() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "nori-events"]


# ---------------------------------------------------------------- what there is to see


def test_work_is_seen_with_its_numbers(small: nori_lsm.Engine) -> None:
    fill(small)
    small.flush()
    small.compact()
    seen = list(small.events(follow=False))
    assert [event.number for event in seen] == list(range(1, len(seen) + 1))
    assert sorted(event.seconds for event in seen)[0] > 0
    by_name: dict[str, Event] = {event.name: event for event in seen}
    assert {"flush", "admission", "guard_move", "bandit_selection", "wal_segment"} <= set(by_name)
    flush = by_name["flush"].fields
    assert flush["bytes"] > 0 and flush["entries"] > 0 and isinstance(flush["micros"], int)
    admission = by_name["admission"].fields
    assert admission["action"] == "admit" and admission["target_level"] == 1 and isinstance(admission["key"], bytes)
    assert by_name["bandit_selection"].fields["explored"] is False
    assert by_name["flush"].to_dict()["fields"]["bytes"] == flush["bytes"]


def test_events_and_stats_count_the_same(disk: SimDisk) -> None:
    with nori_lsm.open("/db", env=disk, **SMALL) as db:
        fill(db)
        db.flush()
        stats, seen = db.stats(), list(db.events(follow=False))
    assert stats.flush_bytes_written == sum(event.fields["bytes"] for event in seen if event.name == "flush")
    moved = [event.fields for event in seen if event.name in ("compaction", "admission")]
    assert stats.compaction_bytes_written == sum(fields["bytes_out"] for fields in moved)
    assert stats.compaction_bytes_read == sum(fields["bytes_in"] for fields in moved)


def test_stalls_and_zones_are_seen(path: Path) -> None:
    with nori_lsm.open(path, **SMALL, l0__max_files=2, l0__soft_throttle_threshold=1, io__rate_limit_mib_s=4.0) as db:
        for _ in range(10):
            fill(db, 2000)
            db.flush()
            seen = list(db.events(follow=False))
            if any(event.name == "stall" and not event.fields["begun"] for event in seen):
                break
        assert any(event.name == "pressure_zone" and event.fields["zone"] != "green" for event in seen)
        stalls = [event.fields for event in seen if event.name == "stall"]
        assert stalls and stalls[0]["begun"] is True and stalls[0]["reason"] in ("l0_files", "memtables")
        assert any(not stall["begun"] and stall["micros"] > 0 for stall in stalls)


def test_failures_in_the_background_are_seen(disk: SimDisk) -> None:
    db = nori_lsm.open("/db", env=disk)
    db[b"a"] = b"1"
    disk.fail("any", 1, 5)
    with pytest.raises(OSError):
        db.flush()
    failures = [event.fields for event in db.events(follow=False) if event.name == "background_error"]
    assert failures and failures[0]["errno"] == 5 and ":" in failures[0]["message"]
    db.close()


# ---------------------------------------------------------------- subscribing


def test_a_subscriber_gets_what_follows_in_order_and_soon(small: nori_lsm.Engine) -> None:
    small[b"before"] = b""
    flush_seen(small)
    unsubscribe = small.subscribe(lambda event: None)
    unsubscribe()
    seen: list[tuple[Event, float]] = []
    small.subscribe(lambda event: seen.append((event, time.monotonic())))
    small[b"after"] = b""
    begun = time.monotonic()
    small.flush()
    wait_until(lambda: any(event.name == "flush" for event, _ in seen))
    assert all(event.seconds >= begun - 0.001 for event, _ in seen if event.name == "flush")
    assert min(at - event.seconds for event, at in seen) < 0.1
    fill(small)
    small.flush()
    wait_until(lambda: len(seen) > 20)
    numbers = [event.number for event, _ in seen]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_one_daemon_thread_serves_all_subscribers_from_the_first_on(small: nori_lsm.Engine) -> None:
    before = len(threads_of_events())
    names: set[tuple[str, bool]] = set()
    seen: list[int] = []

    def note(event: Event) -> None:
        thread = threading.current_thread()
        names.add((thread.name, thread.daemon))

    small.subscribe(note)
    small.subscribe(lambda event: seen.append(event.number))
    assert len(threads_of_events()) == before + 1
    small[b"a"] = b""
    small.flush()
    wait_until(lambda: seen)
    assert names == {("nori-events", True)}
    small.close()
    assert len(threads_of_events()) == before


def test_close_delivers_what_is_queued_and_ends(path: Path) -> None:
    db = nori_lsm.open(path)
    seen: list[str] = []
    db.subscribe(lambda event: (time.sleep(0.01), seen.append(event.name))[1])
    db[b"a"] = b"1"
    db.close()
    assert "flush" in seen
    count = len(seen)
    time.sleep(0.1)
    assert len(seen) == count
    with pytest.raises(nori_lsm.ClosedError):
        db.subscribe(print)
    with pytest.raises(nori_lsm.ClosedError):
        db.events()


def test_unsubscribing_delivers_what_is_queued_and_ends(small: nori_lsm.Engine) -> None:
    seen: list[str] = []
    other: list[str] = []
    unsubscribe = small.subscribe(lambda event: (time.sleep(0.01), seen.append(event.name))[1])
    small.subscribe(lambda event: other.append(event.name))
    small[b"a"] = b""
    flush_seen(small)
    unsubscribe()
    assert "flush" in seen
    count = len(seen)
    small[b"b"] = b""
    small.flush()
    wait_until(lambda: other.count("flush") == 2)
    assert len(seen) == count
    unsubscribe()


def test_a_callback_may_use_unsubscribe_and_close_the_engine(path: Path) -> None:
    db = nori_lsm.open(path)
    seen: list[object] = []
    ended = threading.Event()

    def once(event: Event) -> None:
        seen.append(event.name)
        unsubscribe()

    def use_and_close(event: Event) -> None:
        if event.name != "flush" or ended.is_set():
            return
        db[b"from the callback"] = b"1"
        seen.append(db[b"from the callback"])
        db.close()
        ended.set()

    unsubscribe = db.subscribe(once)
    db.subscribe(use_and_close)
    db[b"a"] = b"1"
    db.flush()
    assert ended.wait(10)
    db.close()
    assert db.closed and b"1" in seen
    with nori_lsm.open(path) as db:
        assert db[b"from the callback"] == b"1"


def test_close_waits_for_a_callback_that_uses_the_engine(path: Path) -> None:
    db = nori_lsm.open(path)
    inside, seen = threading.Event(), []

    def slow(event: Event) -> None:
        inside.set()
        time.sleep(0.1)
        try:
            seen.append(db.get(b"a"))
        except nori_lsm.ClosedError:
            seen.append("closed")

    db.subscribe(slow)
    db[b"a"] = b"1"
    db.flush()
    assert inside.wait(10)
    db.close()
    assert seen and seen[-1] == "closed"


def test_exceptions_of_callbacks_go_to_the_hook_and_stop_nobody(
    small: nori_lsm.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    caught: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: caught.append(unraisable.exc_value))
    seen: list[Event] = []

    def fail(event: Event) -> None:
        raise SystemExit(event.name)

    small.subscribe(fail)
    small.subscribe(seen.append)
    small[b"a"] = b""
    small.flush()
    wait_until(lambda: seen)
    small.close()
    assert len(caught) == len(seen) and all(isinstance(error, SystemExit) for error in caught)
    caught.clear()


def test_what_is_not_callable_is_refused(small: nori_lsm.Engine) -> None:
    with pytest.raises(TypeError, match="callable"):
        small.subscribe(1)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        small.events(True)  # type: ignore[call-arg, misc]


# ---------------------------------------------------------------- following


def test_following_begins_with_what_is_kept_and_ends_with_the_engine(path: Path) -> None:
    db = nori_lsm.open(path)
    db[b"a"] = b""
    db.flush()
    follow = db.events()
    first = next(follow)
    assert first.number == 1
    seen: list[Event] = []
    thread = threading.Thread(target=lambda: seen.extend(follow))
    thread.start()
    db[b"b"] = b""
    db.flush()
    db[b"c"] = b""
    db.close()
    thread.join(10)
    assert not thread.is_alive()
    assert [event.name for event in seen + [first]].count("flush") == 3


# ---------------------------------------------------------------- ends that nobody announced


def test_a_forgotten_engine_with_a_subscriber_is_collected(path: Path) -> None:
    seen: list[Event] = []
    db = nori_lsm.open(path)
    db.subscribe(seen.append)
    db[b"a"] = b""
    gone = weakref.ref(db)
    with warnings.catch_warnings():  # One that is recorded holds the engine.
        warnings.simplefilter("ignore", ResourceWarning)
        del db
        wait_until(lambda: gone() is None)
    wait_until(lambda: any(event.name == "flush" for event in seen))
    wait_until(lambda: not threads_of_events())
    nori_lsm.open(path).close()


def test_an_engine_in_a_cycle_with_its_subscriber_is_collected(path: Path) -> None:
    names: list[str] = []

    def make() -> weakref.ref[nori_lsm.Engine]:
        db = nori_lsm.open(path)
        db.subscribe(lambda event: names.append(f"{event.name} of {db.path}"))
        db[b"a"] = b""
        return weakref.ref(db)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gone = make()
        wait_until(lambda: gc.collect() >= 0 and gone() is None)
        wait_until(lambda: not threads_of_events())
    assert f"flush of {path}" in names
    nori_lsm.open(path).close()


@pytest.mark.parametrize("ending", ["", "raise SystemExit(0)", "del db", "db.close()", "sys.exit(0)"])
def test_the_interpreter_exits_with_a_subscriber(path: Path, ending: str) -> None:
    program = f"""
import sys, nori_lsm
db = nori_lsm.open(sys.argv[1])
db.subscribe(lambda event: print(event.name, flush=True))
db[b"a"] = b"1"
db.record(0.01).__enter__()
{ending}
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(path)], capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "flush" in done.stdout
    with nori_lsm.open(path) as db:
        assert db[b"a"] == b"1"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_is_not_held_up(path: Path) -> None:
    program = """
import os, sys, nori_lsm
db = nori_lsm.open(sys.argv[1])
unsubscribe = db.subscribe(lambda event: None)
child = os.fork()
if child == 0:
    unsubscribe()
    db.close()
    for call in (lambda: db.subscribe(print), lambda: next(db.events()), db.decisions):
        try:
            call()
        except nori_lsm.ForkedError:
            continue
        os._exit(3)
    os._exit(0)
status = os.waitpid(child, 0)[1]
db.close()
sys.exit(os.waitstatus_to_exitcode(status))
"""
    subprocess.run([sys.executable, "-c", program, str(path)], check=True, timeout=30)


# ---------------------------------------------------------------- all at once


def test_subscribers_come_and_go_while_the_engine_works_and_closes(tmp_path: Path) -> None:
    for round_number in range(5):
        db = nori_lsm.open(tmp_path / str(round_number))
        gaps: list[tuple[int, int]] = []
        counts: list[int] = []

        def watch(db: nori_lsm.Engine, gaps: list[tuple[int, int]], counts: list[int]) -> None:
            while True:
                numbers: list[int] = []
                try:
                    stop = db.subscribe(lambda event, numbers=numbers: numbers.append(event.number))  # type: ignore[misc]
                    db.put(b"k", b"v")
                except nori_lsm.ClosedError:
                    return
                time.sleep(0.002)
                stop()
                count = len(numbers)
                gaps.extend(pair for pair in zip(numbers, numbers[1:], strict=False) if pair[1] != pair[0] + 1)
                counts.append(len(numbers) - count)

        watchers = [threading.Thread(target=watch, args=(db, gaps, counts)) for _ in range(3)]
        for thread in watchers:
            thread.start()
        for number in range(40):
            db.put(b"%d" % number, b"x")
            db.flush()
        db.close()
        for thread in watchers:
            thread.join(20)
            assert not thread.is_alive()
        assert gaps == [] and not any(counts)
    assert threads_of_events() == []


def test_watching_leaves_nothing_behind(path: Path) -> None:
    def watch() -> None:
        with nori_lsm.open(path) as db:
            db.subscribe(lambda event: None)
            db[b"a"] = b"1"
            db.flush()
            list(db.events(follow=False))
            db.decisions()
            db.record().sample()

    watch()
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(20):
        watch()
    gc.collect()
    assert len(gc.get_objects()) - before < 50
