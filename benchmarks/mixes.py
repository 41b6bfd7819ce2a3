"""Updates, deletes, groups of keys, threads, columns, the YCSB mixes, and what opening costs."""

import importlib
import itertools
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import repeat

from . import data
from .engine import Engine
from .engines import ENGINES
from .measure import Measured, timed
from .stage import Spec, closed, expect, opened, warmed

GROUP = 100
MIXED = 1_000_000
LATENCY_PUTS = 500_000
CRASH_LOG_BYTES = 60 << 20
SCAN_MOST = 100
RECENT = 1000


def updates(spec: Spec) -> Iterator[Measured]:
    """Over what the fill left: updates by Zipf, then a quarter of the keys deleted."""
    count = min(spec.count, 500_000)
    hot = data.keys(data.zipf(spec.count, count, spec.seed + 11))
    gone = data.keys(data.shuffled(spec.count, spec.seed + 12)[: spec.count // 4])
    values = data.values(count, spec.value_bytes, seed=3)
    engine = opened(spec, spec.shared_path, fresh=False)
    yield timed("updatezipf", count, lambda: engine.fill(hot, values))
    yield timed("deleterandom", len(gone), lambda: engine.delete(gone))
    expect("keys left of the deleted", len(gone) - engine.absent(gone), 0)
    engine.close()


def groups(spec: Spec) -> Iterator[Measured]:
    """Many keys a call, and the same reads by several threads at once."""
    reads = min(spec.count, 200_000) // GROUP * GROUP
    dice = random.Random(spec.seed + 13)
    lists = [data.keys(dice.sample(range(spec.count), GROUP)) for _ in range(reads // GROUP)]
    keys = [key for group in lists for key in group]
    engine = warmed(spec, spec.shared_path)
    engine.columns()  # What it imports is not measured.
    found: list[int] = []
    yield timed("get_many100", reads, lambda: found.append(engine.found(lists)))
    expect("keys found in groups", found[0], reads)
    for threads in (1, 2, 4):
        yield timed(f"readthreads{threads}", reads, partial(together, engine, keys, threads))
    rows: list[int | None] = []
    columns = timed("columns", spec.count, lambda: rows.append(engine.columns()))
    if rows[0] is not None:
        expect("rows", rows[0], spec.count)
        yield columns
    engine.close()


def together(engine: Engine, keys: list[bytes], threads: int) -> None:
    failures: list[list[bytes]] = []

    def read(mine: list[bytes]) -> None:
        get = engine.operations().get
        if any(get(key) is None for key in mine):
            failures.append(mine)

    workers = [threading.Thread(target=read, args=(keys[i::threads],)) for i in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    expect("threads that missed a key", len(failures), 0)


def load(spec: Spec) -> Iterator[Measured]:
    keys = data.keys(range(spec.count))
    pairs = list(zip(keys, data.values(spec.count, spec.value_bytes), strict=False))
    engine = opened(spec, spec.own_path, fresh=True)
    result = timed("bulkload", spec.count, lambda: engine.load(pairs))
    expect("keys missing", engine.absent(keys[:: max(spec.count // 1000, 1)]), 0)
    yield closed(engine, result)


def latency(spec: Spec) -> Iterator[Measured]:
    """Random puts, each timed by itself."""
    count = min(spec.count, LATENCY_PUTS)
    keys, values = data.keys(data.shuffled(count, spec.seed)), data.values(count, spec.value_bytes)
    engine = opened(spec, spec.own_path, fresh=True)
    put, now, nanos = engine.operations().put, time.perf_counter_ns, [0] * count

    def run() -> None:
        for at, (key, value) in enumerate(zip(keys, values, strict=False)):
            begun = now()
            put(key, value)
            nanos[at] = now() - begun

    result = timed("latency", count, run)
    nanos.sort()
    result.latency_micros = {
        name: nanos[min(int(count * share), count - 1)] / 1000
        for name, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("most", 1.0))
    }
    yield closed(engine, result)


def ycsb(spec: Spec) -> Iterator[Measured]:
    """Five mixes, one after the other over what the fill left, in the order in which YCSB wants them run; requests by
    Zipf 0.99, scattered. The sixth wants a database of its own."""
    count = min(spec.count, MIXED)
    value = next(data.values(1, spec.value_bytes, seed=4))
    engine = warmed(spec, spec.shared_path)
    get, put, _scan = engine.operations()
    chosen = data.keys(data.zipf(spec.count, count, spec.seed + 14))
    dice = random.Random(spec.seed + 15)
    draws = [dice.random() for _ in range(count)]
    next_number = spec.count

    def mixed(reads: float) -> Callable[[], None]:
        def run() -> None:
            for key, drawn in zip(chosen, draws, strict=True):
                if drawn < reads:
                    get(key)
                else:
                    put(key, value)

        return run

    def latest() -> None:
        nonlocal next_number
        for drawn in draws:
            if drawn < 0.95:
                expect("newest keys missing", get(b"%016d" % (next_number - 1 - int(drawn * min(RECENT, spec.count)))) is None, False)
            else:
                put(b"%016d" % next_number, value)
                next_number += 1

    def read_modify_write() -> None:
        for key, drawn in zip(chosen, draws, strict=True):
            old = get(key)
            if drawn >= 0.5:
                put(key, old or value)

    yield timed("ycsb_a", count, mixed(0.5))
    yield timed("ycsb_b", count, mixed(0.95))
    yield timed("ycsb_c", count, mixed(1.0))
    yield timed("ycsb_f", count, read_modify_write)
    yield timed("ycsb_d", count, latest)
    expect("keys missing", engine.absent(chosen), 0)
    engine.close()


def ranges(spec: Spec) -> Iterator[Measured]:
    """YCSB's mix of short scans, in a copy of what the fill left."""
    count = min(spec.count, MIXED) // 5
    value = next(data.values(1, spec.value_bytes, seed=4))
    chosen = data.keys(data.zipf(spec.count, count, spec.seed + 16))
    dice = random.Random(spec.seed + 17)
    shutil.rmtree(spec.own_path, ignore_errors=True)
    shutil.copytree(spec.shared_path, spec.own_path)
    engine = warmed(spec, spec.own_path)
    _get, put, scan = engine.operations()
    new_numbers = itertools.count(spec.count)

    def run() -> None:
        for key in chosen:
            drawn = dice.random()
            if drawn < 0.95:
                scan(key, 1 + int(drawn / 0.95 * SCAN_MOST))
            else:
                put(b"%016d" % next(new_numbers), value)

    yield timed("ycsb_e", count, run)
    expect("keys missing", engine.absent(data.keys(range(spec.count, next(new_numbers)))), 0)
    engine.close()


def reopen(spec: Spec) -> Iterator[Measured]:
    """Opened to the first read: closed cleanly, and killed with 60 MiB of keys and values written and not synced."""
    count = min(CRASH_LOG_BYTES // (16 + spec.value_bytes), spec.count)
    child = os.fork()  # Before an engine is opened here, whose threads it would lack.
    if child == 0:
        engine = opened(spec, spec.own_path, fresh=True)
        engine.fill(data.keys(data.shuffled(count, spec.seed)), repeat(b"v" * spec.value_bytes, count))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    importlib.import_module(ENGINES[spec.engine].package)
    yield opening(spec, "open", spec.shared_path, spec.count // 2)
    yield opening(spec, "open_crashed", spec.own_path, count - 1)


def opening(spec: Spec, name: str, path: str, number: int) -> Measured:
    begun: list[Engine] = []
    absent: list[int] = []

    def open_and_read() -> None:
        begun.append(opened(spec, path, fresh=False))
        absent.append(begun[0].absent(data.keys([number])))

    result = timed(name, 1, open_and_read)
    expect("keys missing", absent[0], 0)
    begun[0].close()
    return result
