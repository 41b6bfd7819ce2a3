"""One workload on one store, from the load to the numbers."""

import os
import random
import shutil
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any

from benchmarks import data

from .spec import Spec
from .stores import LEVEL0_ADMITTED, STORES, Counters, Rocks, Store
from .workloads import WORKLOADS, Workload

CHUNK = 500  # Writes, each followed by a read.
TIMED_CHUNKS = 8  # In one of so many each get is timed.
SAMPLES = 100
PROBE_GETS = 100
REST_GETS = 20_000
SAMPLE_ENTRIES = 50_000
QUIET_SECS, QUIET_PART = 0.4, 0.05
DRAIN_TIMEOUT_SECS = 120
WAIT_SECS = 0.002
QUANTILES = {"p50": 0.5, "p99": 0.99, "p999": 0.999}


def drain(store: Store) -> tuple[float, bool]:
    """Flushes and waits until nothing goes on: the store says so, and no processor time is used, for a while. The time that
    took, and whether it came to an end."""
    begun = time.perf_counter()
    store.flush()
    while time.perf_counter() - begun < DRAIN_TIMEOUT_SECS:
        before, used = store.counters().tree_bytes, time.process_time()
        time.sleep(QUIET_SECS)
        is_quiet = time.process_time() - used < QUIET_PART * QUIET_SECS
        if is_quiet and store.counters().tree_bytes == before and not store.is_busy():
            return time.perf_counter() - begun - QUIET_SECS, True
    return time.perf_counter() - begun, False


def quantiles(nanoseconds: list[int]) -> dict[str, float]:
    """In microseconds."""
    ordered = sorted(nanoseconds)
    if not ordered:
        return {}
    return {name: ordered[min(int(len(ordered) * q), len(ordered) - 1)] / 1e3 for name, q in QUANTILES.items()}


class Live:
    """How many keys are there, for workloads whose keys expire: those written within the last seconds."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.written: deque[tuple[float, int]] = deque()

    def note(self, written: int) -> None:
        if self.workload.ttl_secs is not None:
            self.written.append((time.perf_counter(), written))

    def count(self, written: int) -> int:
        known = self.workload.live(written)
        if known is not None:
            return known
        horizon = time.perf_counter() - (self.workload.ttl_secs or 0)
        return written - self.written[max(bisect_left(self.written, (horizon, 0)) - 1, 0)][1]


class Cell:
    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.workload = WORKLOADS[spec.workload](spec.count, spec.writes, spec.seed)
        self.random = random.Random(spec.seed + 1)
        self.samples: list[dict[str, Any]] = []
        self.times: dict[str, list[int]] = {"hot": [], "cold": []}
        self.missing = 0
        self.waited_seconds = 0.0

    def run(self) -> dict[str, Any]:
        spec, workload = self.spec, self.workload
        loading = data.keys(workload.load())
        writes = data.keys(workload.writes())
        numbers, hot = workload.reads()
        reads = data.keys(numbers)
        pace = spec.pace if workload.writes_per_second is None else workload.writes_per_second
        shutil.rmtree(spec.path, ignore_errors=True)
        self.store = store = STORES[spec.engine](spec, spec.path, workload.ttl_secs)
        self.live = Live(workload)
        loaded = self.phase(len(loading), lambda: self.load(loading))
        text = store.text() if isinstance(store, Rocks) else ""
        paced = self.phase(spec.writes, lambda: self.measure(writes[: spec.writes], reads, hot, 0, pace))
        result = {
            "load": loaded,
            **paced,
            "writes": spec.writes,
            "pace": pace,
            "latency": {part: quantiles(times) for part, times in self.times.items()},
            "probes": self.mean_probes(self.samples),
            "rest": self.at_rest(),
            "shape": store.shape(),
            "trigger_bytes": store.trigger_bytes,
            "texts": [text, store.text() if isinstance(store, Rocks) else ""],  # Before and after.
        }
        fast, split = paced, len(self.samples)
        if workload.has_full_speed:
            at = spec.writes
            fast = self.phase(spec.count, lambda: self.measure(writes[at:], reads[at:], hot[at:], at, 0))
            result["full_speed"] = fast | {"probes": self.mean_probes(self.samples[split:])}
        operations = (len(writes) - spec.writes or len(writes)) * (2 if reads else 1)
        entry_bytes = self.bytes_per_entry()
        result |= {
            "rate": operations / fast["seconds"],
            "missing": self.missing,
            "waited_seconds": self.waited_seconds,  # Of the paced phase.
            "bytes_per_entry": entry_bytes,
            "space": self.space(self.samples[:split], entry_bytes),
            "space_full_speed": self.space(self.samples[split:], entry_bytes),
            "samples": self.samples,
        }
        store.close()
        shutil.rmtree(spec.path, ignore_errors=True)
        if self.missing and workload.finds_all:
            raise AssertionError(f"{spec.engine}, {spec.workload}: {self.missing} keys not found")
        return result

    def phase(self, writes: int, work: Callable[[], float]) -> dict[str, Any]:
        """What the work and the drain after it came to; the work says how long its loops took."""
        start, processor = self.store.counters(), time.process_time()
        seconds = work()
        drain_seconds, is_drained = drain(self.store)
        return {
            "seconds": seconds,
            "drain_seconds": drain_seconds,
            "is_drained": is_drained,
            "processor_seconds": time.process_time() - processor,
            **self.written(self.store.counters() - start, writes),
        }

    def written(self, spent: Counters, writes: int) -> dict[str, Any]:
        user = max(writes * self.spec.entry_bytes, 1)
        return {
            "write_amp": spent.tree_bytes / user,
            "flush_amp": spent.flush_bytes / user,
            "compaction_amp": spent.compaction_bytes / user,
            "manifest_amp": spent.manifest_bytes / user,
            "wal_amp": spent.wal_bytes / user,
            "compaction_read_amp": spent.compaction_read_bytes / user,
            "stall_seconds": spent.stall_micros / 1e6,
            "tree_bytes": spent.tree_bytes,
            "counted_bytes": spent.tree_bytes + spent.wal_bytes,
            "system_written": spent.system_written,
            "system_dirtied": spent.system_dirtied,
        }

    def load(self, keys: list[bytes]) -> float:
        """As fast as it goes, but where points expire: at the pace at which they do."""
        pace = self.workload.writes_per_second
        self.live.note(-len(keys))
        if pace is not None:
            return self.measure(keys, [], bytearray(), -len(keys), pace)
        put, values = self.store.put, data.values(len(keys), self.spec.value_bytes)
        begun = time.perf_counter()
        for key, value in zip(keys, values, strict=True):
            put(key, value)
        return time.perf_counter() - begun

    # ------------------------------------------------------------ phases

    def measure(self, writes: list[bytes], reads: list[bytes], hot: bytearray, first: int, pace: int) -> float:
        """Seconds in the loops. 'first' is how many writes came before; pace is writes a second, 0 without end."""
        every = max(len(writes) // SAMPLES // CHUNK, 1)
        values = data.values(len(writes), self.spec.value_bytes, seed=2)
        seconds, begun = 0.0, time.perf_counter()
        for number, at in enumerate(range(0, len(writes), CHUNK)):
            mine = writes[at : at + CHUNK]
            wanted, flags = reads[at : at + len(mine)], hot[at : at + len(mine)]
            chunk_values = list(islice(values, len(mine)))
            clock = time.perf_counter()
            if not reads:
                self.write(mine, chunk_values)
            elif not pace or number % TIMED_CHUNKS:
                self.write_and_read(mine, chunk_values, wanted)
            else:
                self.write_and_time(mine, chunk_values, wanted, flags)
            seconds += time.perf_counter() - clock
            written = at + len(mine)
            self.live.note(first + written)
            if number % every == every - 1 and first >= 0:
                self.sample(first + written)
            if pace:
                time.sleep(max(begun + written / pace - time.perf_counter(), 0))
                self.wait_for_bounds()
        return seconds

    def wait_for_bounds(self) -> None:
        """Keeps a busy machine out of what is measured: the writer waits where level 0 is deeper than it has to be."""
        begun = time.perf_counter()
        while self.store.level0_depth() > LEVEL0_ADMITTED and time.perf_counter() - begun < DRAIN_TIMEOUT_SECS:
            time.sleep(WAIT_SECS)
        self.waited_seconds += time.perf_counter() - begun

    def write(self, keys: list[bytes], values: list[bytes]) -> None:
        put = self.store.put
        for key, value in zip(keys, values, strict=True):
            put(key, value)

    def write_and_read(self, keys: list[bytes], values: list[bytes], reads: list[bytes]) -> None:
        put, get, missing = self.store.put, self.store.get, 0
        for key, value, wanted in zip(keys, values, reads, strict=True):
            put(key, value)
            if get(wanted) is None:
                missing += 1
        self.missing += missing

    def write_and_time(self, keys: list[bytes], values: list[bytes], reads: list[bytes], flags: bytearray) -> None:
        put, get, clock = self.store.put, self.store.get, time.perf_counter_ns
        times = (self.times["cold"], self.times["hot"])
        for key, value, wanted, is_hot in zip(keys, values, reads, flags, strict=True):
            put(key, value)
            begun = clock()
            found = get(wanted)
            times[is_hot].append(clock() - begun)
            if found is None:
                self.missing += 1

    def sample(self, written: int) -> None:
        workload, moving = self.workload, self.workload.moving_range(written - 1)
        self.samples.append(
            {
                "written": written,
                "live": self.live.count(written),
                "live_table_bytes": self.store.live_table_bytes(),
                "file_bytes": self.store.table_file_bytes(),
                "hot": self.burst([workload.hot(written - 1) for _ in range(PROBE_GETS)]),
                "cold": self.burst([workload.cold(written - 1) for _ in range(PROBE_GETS)]),
                "leveled_part": self.store.leveled_part(*data.keys(list(moving))) if moving else None,
            }
        )

    def burst(self, numbers: list[int]) -> float:
        """Runs looked into per get."""
        keys, get = data.keys(numbers), self.store.get
        before = self.store.counters().probes
        for key in keys:
            get(key)
        return (self.store.counters().probes - before) / len(keys)

    # ------------------------------------------------------------ afterwards

    def at_rest(self) -> dict[str, Any]:
        found = {}
        for part, draw in (("hot", self.workload.hot), ("cold", self.workload.cold)):
            keys = data.keys([draw(self.spec.writes - 1) for _ in range(REST_GETS)])
            get, clock, times = self.store.get, time.perf_counter_ns, []
            before = self.store.counters()
            for key in keys:
                begun = clock()
                get(key)
                times.append(clock() - begun)
            spent = self.store.counters() - before
            found[part] = {"probes": spent.probes / len(keys), "blocks": spent.blocks / len(keys), **quantiles(times)}
        return found

    def bytes_per_entry(self) -> float:
        """Of tables after a full merge: see the package's head."""
        path = self.spec.path + "-sample"
        shutil.rmtree(path, ignore_errors=True)
        sample = STORES[self.spec.engine](self.spec, path, None, is_sample=True)
        pairs = list(islice(self.store.pairs(), SAMPLE_ENTRIES))
        self.random.shuffle(pairs)  # Sequences that rise with the keys would compress too well.
        for key, value in pairs:
            sample.put(key, value)
        drain(sample)
        sample.merge_all()
        drain(sample)
        size = sample.live_table_bytes()
        sample.close()
        shutil.rmtree(path, ignore_errors=True)
        return size / max(len(pairs), 1)

    def space(self, samples: list[dict[str, Any]], entry_bytes: float) -> dict[str, Any]:
        """The first samples of a store that begins empty say nothing."""
        enough = [s for s in samples if s["live"] >= self.workload.count / 2]
        found: dict[str, Any] = {}
        for name, size in (("", "live_table_bytes"), ("files_", "file_bytes")):
            ratios = [s[size] / (s["live"] * entry_bytes) for s in enough]
            if ratios:
                found |= {name + "max": max(ratios), name + "mean": sum(ratios) / len(ratios)}
        return found

    def mean_probes(self, samples: list[dict[str, Any]]) -> dict[str, float]:
        return {part: sum(s[part] for s in samples) / max(len(samples), 1) for part in ("hot", "cold")}


def run_cell(spec: Spec) -> dict[str, Any]:
    os.makedirs(os.path.dirname(spec.path), exist_ok=True)
    return Cell(spec).run()
