"""Fills, reads, synced writes, and memory: one verb at a time."""

import threading
import time
from collections.abc import Callable, Iterator
from itertools import repeat

from . import data
from .engines import ENGINES
from .measure import Measured, Memory, timed
from .stage import Spec, closed, expect, opened, warmed

BATCH = 1000
SCAN_PAIRS = 100
MOST_READS = 2_000_000  # Seconds for the quickest: what adapts to being read is to have the time.
MEMTABLE_KEYS = 100_000
SETTLE_SECS = 1.0


# ---------------------------------------------------------------- stages


def fill(
    spec: Spec, name: str, numbers: "range | list[int]", path: str, batch: int | None = None
) -> Iterator[Measured]:
    keys, values = data.keys(numbers), data.values(len(numbers), spec.value_bytes)
    engine = opened(spec, path, fresh=True)
    if batch is None:
        result = timed(name, len(keys), lambda: engine.fill(keys, values))
    else:
        result = timed(name, len(keys), lambda: engine.fill_batches(keys, values, batch))
    yield closed(engine, result)


def fillseq(spec: Spec) -> Iterator[Measured]:
    yield from fill(spec, "fillseq", range(spec.count), spec.own_path)


def fillrandom(spec: Spec) -> Iterator[Measured]:
    yield from fill(spec, "fillrandom", data.shuffled(spec.count, spec.seed), spec.shared_path)


def fillbatch(spec: Spec) -> Iterator[Measured]:
    yield from fill(spec, "fillbatch", data.shuffled(spec.count, spec.seed + 1), spec.own_path, BATCH)


def overwrite(spec: Spec) -> Iterator[Measured]:
    keys = data.keys(data.drawn(spec.count, spec.count, spec.seed + 2))
    values = data.values(len(keys), spec.value_bytes, seed=2)
    engine = opened(spec, spec.shared_path, fresh=False)
    yield closed(engine, timed("overwrite", len(keys), lambda: engine.fill(keys, values)))


def read(spec: Spec) -> Iterator[Measured]:
    """After a reopen, every block met once."""
    reads = min(2 * spec.count, MOST_READS)
    present = data.keys(data.drawn(spec.count, reads, spec.seed + 3))
    absent = [data.missing_key(number) for number in data.drawn(spec.count, reads, spec.seed + 4)]
    starts = data.keys(data.drawn(max(spec.count - SCAN_PAIRS, 1), max(reads // 20, 1), spec.seed + 5))
    engine = warmed(spec, spec.shared_path)
    found: dict[str, int] = {}

    def run(name: str, operations: int, verb: Callable[[], int]) -> Measured:
        return timed(name, operations, lambda: found.update({name: verb()}))

    yield run("readrandom", reads, lambda: engine.absent(present))
    yield run("readmissing", reads, lambda: engine.absent(absent))
    yield run("readseq", spec.count, lambda: walk(engine.pairs(False)))
    yield run("readrev", spec.count, lambda: walk(engine.pairs(True)))
    yield run("scan100", len(starts), lambda: engine.scans(starts, SCAN_PAIRS, False))
    yield run("scan100rev", len(starts), lambda: engine.scans(starts, SCAN_PAIRS, True))
    engine.close()
    expect("readrandom misses", found["readrandom"], 0)
    expect("readmissing misses", found["readmissing"], reads)
    expect("readseq pairs", found["readseq"], spec.count)
    expect("readrev pairs", found["readrev"], spec.count)
    if spec.count > SCAN_PAIRS:
        expect("scan100 pairs", found["scan100"], len(starts) * SCAN_PAIRS)


def walk(pairs: Iterator[tuple[bytes, bytes]]) -> int:
    count = 0
    for _key, _value in pairs:
        count += 1
    return count


def readmem(spec: Spec) -> Iterator[Measured]:
    """What was just written is still in memory."""
    count = min(spec.count, MEMTABLE_KEYS)
    wanted = data.keys(data.drawn(count, 5 * count, spec.seed + 6))
    engine = opened(spec, spec.own_path, fresh=True)
    engine.fill(data.keys(data.shuffled(count, spec.seed)), data.values(count, spec.value_bytes))
    missing: list[int] = []
    yield timed("readmem", len(wanted), lambda: missing.append(engine.absent(wanted)))
    engine.close()
    expect("readmem misses", missing[0], 0)


def synced(spec: Spec, name: str, threads: int, puts: int) -> Iterator[Measured]:
    keys = data.keys(data.shuffled(puts, spec.seed))
    value = next(data.values(1, spec.value_bytes))
    engine = opened(spec, spec.own_path, fresh=True, sync=True)
    put = engine.synced_put()
    failures: list[BaseException] = []

    def write(mine: list[bytes]) -> None:
        try:
            for key, same in zip(mine, repeat(value)):
                put(key, same)
        except BaseException as error:
            failures.append(error)

    def write_all() -> None:
        writers = [threading.Thread(target=write, args=(keys[i::threads],)) for i in range(threads)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()

    write(keys[:threads])  # The first sync of a file is not like the others,
    time.sleep(SETTLE_SECS)  # and engines prepare their log files when they are opened.
    result = timed(name, puts, write_all if threads > 1 else lambda: write(keys))
    if failures:
        raise failures[0]
    yield closed(engine, result)


def fillsync1(spec: Spec) -> Iterator[Measured]:
    yield from synced(spec, "fillsync1", 1, min(spec.count, 4000))


def fillsync16(spec: Spec) -> Iterator[Measured]:
    yield from synced(spec, "fillsync16", 16, min(spec.count, 16_000))


def memory(spec: Spec) -> Iterator[Measured]:
    """Writes, reads and scans within small budgets: what the process grows by."""
    budget = ENGINES[spec.engine].small_budget
    keys = data.keys(data.shuffled(spec.count, spec.seed))
    values = data.values(spec.count, spec.value_bytes)
    watch = Memory()
    engine = opened(spec, spec.own_path, fresh=True, small=True)
    chunk = max(spec.count // 100, 1)

    def run() -> None:
        for begin in range(0, spec.count, chunk):
            engine.fill(keys[begin : begin + chunk], values)
            watch.sample()
        for begin in range(0, spec.count, 4 * chunk):
            expect("keys missing", engine.absent(keys[begin : begin + chunk]), 0)
            watch.sample()
        expect("pairs", walk(engine.pairs(False)), spec.count)
        watch.sample()

    result = closed(engine, timed("memory", spec.count, run))
    result.budget_bytes = budget
    result.anonymous_bytes = watch.peak_anonymous_bytes
    result.resident_bytes = watch.peak_resident_bytes
    yield result
