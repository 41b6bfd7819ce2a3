"""Every order of closing and forgetting; other processes; the interpreter's end."""

from __future__ import annotations

import gc
import itertools
import os
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

import nori_lsm

CHILDREN = ("engine", "snapshot", "scan", "batch", "scan of the snapshot", "iterator")


def family(path: Path) -> dict[str, object]:
    db = nori_lsm.open(path)
    db.update((b"%04d" % number, bytes(200)) for number in range(2_000))
    db.flush()
    db[b"x"] = b"1"
    snapshot, scan, batch = db.snapshot(), db.scan(), db.batch()
    inner, iterator = snapshot.scan(reverse=True), iter(db)
    batch[b"in the batch"] = b""
    next(scan), next(inner), next(iterator)
    return dict(zip(CHILDREN, (db, snapshot, scan, batch, inner, iterator), strict=True))


def end(thing: object) -> None:
    close: Callable[[], None] = getattr(thing, "close", lambda: None)
    close()


@pytest.mark.parametrize("how", ["closed", "forgotten", "closed or forgotten by turns"])
def test_every_order_of_closing_and_garbage(path: Path, how: str) -> None:
    orders = list(itertools.permutations(CHILDREN))[:: 1 if how == "forgotten" else 3]
    for number, order in enumerate(orders[::12]):
        things = family(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            for turn, name in enumerate(order):
                if how == "closed" or (how != "forgotten" and (turn + number) % 2):
                    end(things[name])
                else:
                    del things[name]
                    gc.collect()
            things.clear()
            gc.collect()
        with nori_lsm.open(path) as db:  # The lock is free: all is gone.
            assert len(db) == 2_001 and b"in the batch" not in db


def test_a_cycle_of_an_engine_and_its_users_is_collected(path: Path) -> None:
    class User:
        pass

    with pytest.warns(ResourceWarning, match="unclosed"):
        user = User()
        user.db = nori_lsm.open(path)
        user.db[b"a"] = b"1"
        user.scan, user.self = user.db.scan(), user
        del user
        gc.collect()
    with nori_lsm.open(path) as db:
        assert db[b"a"] == b"1"


# ---------------------------------------------------------------- other processes


def start(code: str, *args: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(code), *map(str, args)]
    environment = {**os.environ, "PYTHONPATH": str(Path(nori_lsm.__file__).parents[1])}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


HOLDER = """
    import sys, nori_lsm
    db = nori_lsm.open(sys.argv[1])
    db[b"a"] = b"1"
    print("open", flush=True)
    sys.stdin.readline()
"""


def test_a_second_opener_in_another_process_waits_for_the_first_s_end(path: Path) -> None:
    with start(HOLDER, path) as holder:
        assert holder.stdout and holder.stdin
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(nori_lsm.LockedError):
            nori_lsm.open(path)
        begun = time.monotonic()
        with pytest.raises(nori_lsm.LockedError):
            nori_lsm.open(path, wait=0.3)
        assert 0.2 < time.monotonic() - begun < 5
        with nori_lsm.open(path, read_only=True) as reader:
            assert reader[b"a"] == b"1"
        os.kill(holder.pid, signal.SIGKILL)
        with nori_lsm.open(path, wait=20) as db:  # The lock goes with the process.
            assert db[b"a"] == b"1"


def test_a_close_elsewhere_in_the_process_does_not_drop_the_lock(path: Path) -> None:
    with nori_lsm.open(path):
        (path / "LOCK").read_bytes()  # Opened and closed: would drop a lock of fcntl's.
        with nori_lsm.open(path, read_only=True):
            pass
        code = "import sys, nori_lsm\ntry: nori_lsm.open(sys.argv[1])\nexcept nori_lsm.LockedError: print('locked')"
        with start(code, path) as other:
            assert other.communicate(timeout=60)[0] == "locked\n"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_leaves_the_parent_unharmed_and_frees_the_lock_with_it(path: Path) -> None:
    code = """
        import os, sys, time, nori_lsm
        db = nori_lsm.open(sys.argv[1], wal__durability="sync")
        db[b"a"] = b"1"
        child = os.fork()
        if child == 0:
            time.sleep(3)  # Outlives the parent's engine, and must not hold its lock.
            os._exit(0)
        for number in range(500):
            db[b"%d" % number] = bytes(100)
        db.close()
        again = nori_lsm.open(sys.argv[1])
        assert len(again) == 501
        again.close()
        print("done", flush=True)
        os._exit(0)
    """
    with start(code, path) as process:
        assert process.stdout and process.stdout.readline() == "done\n"
        with nori_lsm.open(path) as db:
            assert len(db) == 501


@pytest.mark.parametrize("work", ["put", "put sync", "scan", "compact", "popitem", "update"])
def test_the_interpreter_ends_with_an_open_engine_and_busy_daemon_threads(path: Path, work: str) -> None:
    code = """
        import sys, threading, time, warnings, nori_lsm
        warnings.simplefilter("ignore")
        db = nori_lsm.open(sys.argv[1], memtable__flush_trigger_bytes=64 << 10, level1_bytes=128 << 10,
                           table_bytes=32 << 10, l0__max_files=4, l0__soft_throttle_threshold=2)
        db.update((b"%06d" % number, bytes(100)) for number in range(5000))
        uses = {
            "put": lambda n: db.put(b"%d" % n, bytes(300)),
            "put sync": lambda n: db.put(b"%d" % n, bytes(300), sync=True),
            "scan": lambda n: list(db.scan()),
            "compact": lambda n: (db.put(b"%d" % n, bytes(300)), db.compact()),
            "popitem": lambda n: (db.put(b"%d" % n, b""), db.popitem()),
            "update": lambda n: db.update((b"%d" % k, bytes(300)) for k in range(2000)),
        }
        def run():
            number = 0
            while True:
                uses[sys.argv[2]](number)
                number += 1
        for _ in range(4):
            threading.Thread(target=run, daemon=True).start()
        time.sleep(0.3)
    """
    with start(code, path, work) as process:
        try:
            assert process.wait(30) == 0
        except subprocess.TimeoutExpired:
            process.kill()
            pytest.fail("the interpreter does not end")
    with nori_lsm.open(path) as db:
        assert db.verify().ok
