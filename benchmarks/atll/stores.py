"""The stores of the comparison: open with equal sizes, counted in the same words."""

import os
import shutil
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

from benchmarks import data
from benchmarks.measure import dirtied_bytes, system_io

from .spec import FANOUT, MIB, Spec

BLOOM_BITS = 10
BLOCK_BYTES = 4096
MEMTABLES = 4
LEVEL0_ADMITTED, LEVEL0_SLOWED, LEVEL0_STOPPED = 4, 6, 12
BACKGROUND_JOBS = 2
SAMPLE_MEMTABLE = 64 * MIB
ROCKS_LOG_BYTES = 4 * MIB


@dataclass
class Counters:
    """Rising since open; a - b is what happened between."""

    flush_bytes: int = 0
    compaction_bytes: int = 0
    compaction_read_bytes: int = 0
    manifest_bytes: int = 0
    wal_bytes: int = 0
    stall_micros: int = 0
    probes: int = 0
    blocks: int = 0
    system_written: int = 0  # Given to write(2).
    system_dirtied: int = 0  # Pages made dirty, those of mappings too, less what was never written back.

    def __sub__(self, other: "Counters") -> "Counters":
        return Counters(*(getattr(self, f.name) - getattr(other, f.name) for f in fields(self)))

    @property
    def tree_bytes(self) -> int:
        return self.flush_bytes + self.compaction_bytes + self.manifest_bytes


def file_bytes(path: str, suffix: str = "", prefix: str = "") -> int:
    total = 0
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.endswith(suffix) and entry.name.startswith(prefix):
                try:
                    total += entry.stat().st_size
                except FileNotFoundError:  # Unlinked meanwhile.
                    pass
    return total


class Store(ABC):
    put: Callable[[bytes, bytes], Any]
    get: Callable[[bytes], bytes | None]

    def __init__(self, spec: Spec, path: str, ttl_secs: int | None, *, is_sample: bool = False) -> None:
        self.spec, self.path, self.ttl_secs, self.is_sample = spec, path, ttl_secs, is_sample
        self.trigger_bytes = spec.memtable_bytes
        self.open()

    @abstractmethod
    def open(self) -> None: ...
    @abstractmethod
    def close(self) -> None: ...
    @abstractmethod
    def flush(self) -> None: ...
    @abstractmethod
    def counters(self) -> Counters: ...
    @abstractmethod
    def live_table_bytes(self) -> int: ...
    @abstractmethod
    def level0_depth(self) -> int: ...
    @abstractmethod
    def is_busy(self) -> bool:
        """As far as the store says so itself."""

    @abstractmethod
    def pairs(self) -> Iterator[tuple[bytes, bytes]]: ...
    @abstractmethod
    def merge_all(self) -> None: ...
    def leveled_part(self, first: bytes, last: bytes) -> float | None:
        """Of the slots over the keys, how many are of one run and are to be; None: there are no slots."""
        return None

    @abstractmethod
    def shape(self) -> list[dict[str, Any]]:
        """A row for each level."""

    def table_file_bytes(self) -> int:
        return file_bytes(self.path, ".sst")

    def with_system(self, counters: Counters) -> Counters:
        seen = system_io()
        counters.system_written = seen.get("wchar", 0)
        counters.system_dirtied = dirtied_bytes(seen)
        return counters


def is_flushed(spec: Spec, path: str, trigger_bytes: int) -> bool:
    """Whether a memtable of so many bytes is full with the entries of one of RocksDB's."""
    import nori_lsm

    count = spec.memtable_entries
    with nori_lsm.open(path, memtable__flush_trigger_bytes=trigger_bytes, wal__durability="os") as db:
        keys, values = data.keys(data.shuffled(count, spec.seed)), data.values(count, spec.value_bytes)
        for key, value in zip(keys, values, strict=True):
            db[key] = value
        stats = db.stats()
        found = bool(stats.immutable_memtables or stats.flush_bytes_written)
    shutil.rmtree(path)
    return found


def equal_trigger(spec: Spec, path: str) -> int:
    """The flush trigger at which our memtable holds as much as RocksDB's: both count memory, but not the same. What is
    written to a level 0 file, and merged at a time, would else be another amount."""
    low, high = spec.memtable_bytes // 4, 4 * spec.memtable_bytes
    while high - low > spec.memtable_bytes // 32:
        middle = (low + high) // 2
        if is_flushed(spec, path, middle):
            low = middle
        else:
            high = middle
    return low


class Nori(Store):
    overrides: dict[str, Any] = {}

    def open(self) -> None:
        import nori_lsm

        spec = self.spec
        if self.is_sample:
            trigger_bytes = SAMPLE_MEMTABLE
        elif spec.equal_budgets:
            trigger_bytes = spec.memtable_bytes
        else:
            trigger_bytes = equal_trigger(spec, self.path + "-trigger")
        options = {**self.overrides, "strategy": "leveled"} if self.is_sample else self.overrides
        self.db = nori_lsm.open(
            self.path,
            fanout=FANOUT,
            level1_bytes=spec.level1_bytes,
            table_bytes=spec.table_bytes,
            l1_slot_count=spec.level1_bytes // spec.table_bytes,
            heat_decay_interval_secs=spec.heat_interval_secs,
            memtable__flush_trigger_bytes=trigger_bytes,
            memtable__wal_age_trigger_sec=0,
            l0__max_files=LEVEL0_STOPPED,
            l0__soft_throttle_threshold=LEVEL0_SLOWED,
            filters__bloom_bits_per_key=BLOOM_BITS,
            levels=[nori_lsm.LevelConfig(compression="lz4", block_bytes=BLOCK_BYTES)],
            resources__block_cache_mib=max(spec.cache_bytes // MIB, 1),
            resources__memtables_mib=max(-(-MEMTABLES * trigger_bytes // MIB), 1),
            io__max_background_jobs=BACKGROUND_JOBS,
            wal__durability="os",
            wal__segment_bytes=ROCKS_LOG_BYTES,
            wal__mapped=False if spec.written_log else "auto",
            pressure__stall_timeout_secs=600,
            **options,
        )
        self.trigger_bytes = trigger_bytes
        self.get = self.db.get
        put, ttl = self.db.put, self.ttl_secs
        self.put = put if ttl is None else lambda key, value: put(key, value, ttl=ttl)

    def close(self) -> None:
        self.db.close()

    def flush(self) -> None:
        self.db.flush()

    def counters(self) -> Counters:
        stats = self.db.stats()
        return self.with_system(
            Counters(
                flush_bytes=stats.flush_bytes_written,
                compaction_bytes=stats.compaction_bytes_written,
                compaction_read_bytes=stats.compaction_bytes_read,
                manifest_bytes=getattr(stats, "manifest_bytes_written", 0),
                wal_bytes=stats.wal_bytes_written,
                stall_micros=stats.stall_micros,
                probes=stats.runs_probed,
                blocks=stats.blocks_read,
            )
        )

    def live_table_bytes(self) -> int:
        return int(self.db.stats().bytes_on_disk)

    def level0_depth(self) -> int:
        return int(self.db.stats().l0_files)

    def is_busy(self) -> bool:
        return bool(self.db.stats().immutable_memtables)

    def pairs(self) -> Iterator[tuple[bytes, bytes]]:
        pairs: Iterator[tuple[bytes, bytes]] = self.db.scan()
        return pairs

    def merge_all(self) -> None:
        self.db.compact()

    def leveled_part(self, first: bytes, last: bytes) -> float | None:
        here = [slot for slot in self.db.slots() if slot.start <= last and (slot.stop is None or slot.stop > first)]
        return float(sum(slot.k_max == 1 and slot.runs <= 1 for slot in here)) / max(len(here), 1)

    def shape(self) -> list[dict[str, Any]]:
        stats = self.db.stats()
        rows: list[dict[str, Any]] = [{"level": 0, "runs": stats.l0_files}]
        rows[0]["get_micros"] = stats.latency_micros["get"]["p50"]  # What K is chosen by, about.
        rows[0]["probes_per_get"] = stats.runs_probed / max(stats.gets, 1)
        slots = self.db.slots()
        for level in sorted({slot.level for slot in slots}):
            here = [slot for slot in slots if slot.level == level]
            rows.append(
                {
                    "level": level,
                    "slots": len(here),
                    "files": sum(slot.files for slot in here),
                    "bytes": sum(slot.bytes for slot in here),
                    "most_runs": max(slot.runs for slot in here),
                    "mean_runs": sum(slot.runs * slot.bytes for slot in here) / max(sum(s.bytes for s in here), 1),
                    "modes": dict(Counter(slot.mode for slot in here)),
                    "k_max": dict(Counter(slot.k_max for slot in here)),
                }
            )
        return rows


class Rocks(Store):
    is_universal = False

    def open(self) -> None:
        from rocksdict import (
            AccessType,
            BlockBasedOptions,
            Cache,
            DBCompactionStyle,
            DBCompressionType,
            Options,
            Rdict,
        )

        spec = self.spec
        self.options = options = Options(raw_mode=True)
        options.enable_statistics()
        options.set_write_buffer_size(SAMPLE_MEMTABLE if self.is_sample else spec.memtable_bytes)
        options.set_max_write_buffer_number(MEMTABLES)
        options.set_max_bytes_for_level_base(spec.level1_bytes)
        options.set_max_bytes_for_level_multiplier(FANOUT)
        options.set_target_file_size_base(spec.table_bytes)
        options.set_level_compaction_dynamic_level_bytes(True)
        options.set_level_zero_file_num_compaction_trigger(LEVEL0_ADMITTED)
        options.set_level_zero_slowdown_writes_trigger(LEVEL0_SLOWED)
        options.set_level_zero_stop_writes_trigger(LEVEL0_STOPPED)
        options.set_max_background_jobs(BACKGROUND_JOBS)
        options.set_max_total_wal_size(MEMTABLES * ROCKS_LOG_BYTES)
        options.set_compression_type(DBCompressionType.lz4())
        if self.is_universal and not self.is_sample:
            options.set_compaction_style(DBCompactionStyle.universal())
        blocks = BlockBasedOptions()
        blocks.set_block_size(BLOCK_BYTES)
        blocks.set_block_cache(Cache(spec.cache_bytes))
        blocks.set_bloom_filter(BLOOM_BITS, False)
        options.set_block_based_table_factory(blocks)
        access = AccessType.read_write() if self.ttl_secs is None else AccessType.with_ttl(self.ttl_secs)
        self.db = Rdict(self.path, options, access_type=access)
        self.get = self.db.get
        self.put = self.db.__setitem__

    def close(self) -> None:
        self.db.close()

    def flush(self) -> None:
        self.db.flush(True)

    def tickers(self) -> dict[str, int]:
        found = {}
        for line in (self.options.get_statistics() or "").splitlines():
            name, _, value = line.partition(" COUNT : ")
            if value.isdigit():
                found[name.removeprefix("rocksdb.")] = int(value)
        return found

    def counters(self) -> Counters:
        counted = self.tickers()
        return self.with_system(
            Counters(
                flush_bytes=counted["flush.write.bytes"],
                compaction_bytes=counted["compact.write.bytes"],
                compaction_read_bytes=counted["compact.read.bytes"],
                manifest_bytes=file_bytes(self.path, prefix="MANIFEST-"),
                wal_bytes=counted["wal.bytes"],
                stall_micros=counted["stall.micros"],
                probes=counted["bloom.filter.useful"] + counted["bloom.filter.full.positive"],
                blocks=counted["block.cache.data.miss"],
            )
        )

    def number(self, name: str) -> int:
        return int(self.db.property_int_value("rocksdb." + name) or 0)

    def live_table_bytes(self) -> int:
        return self.number("live-sst-files-size")

    def level0_depth(self) -> int:
        return self.number("num-files-at-level0")

    def is_busy(self) -> bool:
        # Not compaction-pending: universal compaction may leave it set when there is nothing that it would do.
        names = ("num-running-compactions", "num-running-flushes", "mem-table-flush-pending")
        return any(self.number(name) for name in names)

    def pairs(self) -> Iterator[tuple[bytes, bytes]]:
        yield from self.db.items()  # type: ignore[misc]

    def merge_all(self) -> None:
        from rocksdict import BottommostLevelCompaction, CompactOptions

        options = CompactOptions()  # Tables that could be moved are merged, too.
        options.set_bottommost_level_compaction(BottommostLevelCompaction.force())
        self.db.compact_range(None, None, options)

    def shape(self) -> list[dict[str, Any]]:
        files = self.db.live_files()
        rows = []
        for level in sorted({file["level"] for file in files}):
            here = [file for file in files if file["level"] == level]
            rows.append({"level": level, "files": len(here), "bytes": sum(file["size"] for file in here)})
        return rows

    def text(self) -> str:
        """The table of compactions by level."""
        return (self.db.property_value("rocksdb.stats") or "").partition("** Compaction Stats [default] **\nPri")[0]


class RocksUniversal(Rocks):
    is_universal = True


def nori(**overrides: Any) -> type[Nori]:
    return type("Nori", (Nori,), {"overrides": overrides})


STORES: dict[str, type[Store]] = {
    "atll": Nori,
    "atll-contextual": nori(scheduler="contextual"),
    "atll-greedy": nori(scheduler="greedy"),
    "atll-round_robin": nori(scheduler="round_robin"),
    "atll-uniform": nori(guards="uniform"),
    "atll-heat": nori(k_policy="heat"),
    "atll-unbounded": nori(max_space_amp=100.0),
    "leveled": nori(strategy="leveled"),
    "tiered": nori(strategy="tiered"),
    "rocksdb-leveled": Rocks,
    "rocksdb-universal": RocksUniversal,
}
