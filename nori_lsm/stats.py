"""What an engine is doing: `Stats`, `Slot` and `SlotList`.

The core counts; everything that is derived from its counters is derived here, once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from nori_lsm import html

__all__ = ["Slot", "SlotList", "Stats"]

Key = bytes  # Slot has a field of the name of the type.
Zone = Literal["green", "yellow", "orange", "red"]

# What rises from open on. All else in Stats is a gauge, or derived.
COUNTERS = frozenset(
    [
        "user_bytes_written",
        "wal_bytes_written",
        "flush_bytes_written",
        "compaction_bytes_written",
        "manifest_bytes_written",
        "compaction_bytes_read",
        "gets",
        "puts",
        "deletes",
        "scans",
        "runs_probed",
        "blocks_read",
        "filter_negatives",
        "filter_false_positives",
        "block_cache_hits",
        "block_cache_misses",
        "wal_segments_deleted",
        "stall_micros",
        "writes_delayed",
    ]
)


def ratios(raw: Mapping[str, Any]) -> dict[str, float]:
    """The amplifications, from raw counters: nothing else defines them.

    write_amp       flush, compaction and manifest bytes written / bytes the user put; wal_write_amp: the log's share
    read_amp        runs whose bounds cover the key, whatever their filters said, per get; blocks_per_get beside it
    space_amp       bytes of tables on disk / bytes of the live entries as a full merge would write them
    """
    written = raw["flush_bytes_written"] + raw["compaction_bytes_written"] + raw["manifest_bytes_written"]
    user, gets, live, disk = raw["user_bytes_written"], raw["gets"], raw["live_bytes"], raw["bytes_on_disk"]
    return {
        "write_amp": written / user if user else 0.0,
        "wal_write_amp": raw["wal_bytes_written"] / user if user else 0.0,
        "read_amp": raw["runs_probed"] / gets if gets else 0.0,
        "blocks_per_get": raw["blocks_read"] / gets if gets else 0.0,
        "space_amp": disk / live if live else math.inf if disk else 1.0,
    }


@dataclass(frozen=True)
class Stats:
    """Counters since open, and gauges now.

    `later - earlier` subtracts counters, keeps later's gauges (times of latency_micros too) and computes the ratios of
    the time between.
    """

    user_bytes_written: int
    wal_bytes_written: int
    flush_bytes_written: int
    compaction_bytes_written: int
    compaction_bytes_read: int
    bytes_on_disk: int
    live_bytes: int
    snapshot_pinned_bytes: int
    view_pinned_bytes: int
    gets: int
    puts: int
    deletes: int
    scans: int
    runs_probed: int
    blocks_read: int
    filter_negatives: int
    filter_false_positives: int
    block_cache_hits: int
    block_cache_misses: int
    l0_files: int
    memtable_bytes: int
    immutable_memtables: int
    wal_segments: int
    wal_segments_deleted: int
    stall_micros: int
    pressure: float
    zone: Zone
    write_amp: float
    read_amp: float
    space_amp: float
    sequence: int
    synced_sequence: int
    poisoned: str | None
    latency_micros: dict[str, dict[str, float]]
    manifest_bytes_written: int
    writes_delayed: int
    wal_write_amp: float
    blocks_per_get: float

    @classmethod
    def from_counters(cls, raw: Mapping[str, Any]) -> Stats:
        """From what the core counted, by name; the ratios are computed."""
        values: dict[str, Any] = {**raw, **ratios(raw)}
        return cls(**{spec.name: values[spec.name] for spec in fields(cls)})

    def __sub__(self, earlier: Stats) -> Stats:
        if not isinstance(earlier, Stats):
            return NotImplemented
        raw = {spec.name: getattr(self, spec.name) for spec in fields(self)}
        for name in COUNTERS:
            raw[name] -= getattr(earlier, name)
        raw["latency_micros"] = {
            op: {**times, "count": times["count"] - earlier.latency_micros.get(op, {}).get("count", 0)}
            for op, times in self.latency_micros.items()
        }
        return Stats.from_counters(raw)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def _repr_html_(self) -> str:
        return html.stats(self)


@dataclass(frozen=True)
class Slot:
    """One slot of level 1 or deeper: the keys from `start` up to `stop` (None: without end), in `runs` sorted runs.

    read_heat, write_heat and scan_heat are accesses per byte, from 0 to 1 within the level (1: at or above what 95 % of
    its bytes stay below), averaged over about Config.heat_decay_interval_secs / heat_alpha; heat is the greater of
    read_heat and scan_heat. write_amp is bytes that merges wrote for the slot per byte that came to it; read_amp is
    runs probed per read that searched it, as measured (0.0: none did); reads are those, since open.
    """

    level: int
    slot_id: int
    start: Key
    stop: Key | None
    runs: int
    k_max: int
    files: int
    bytes: int
    entries: int
    tombstone_density: float
    heat: float
    read_heat: float
    write_heat: float
    scan_heat: float
    mode: Literal["leveled", "hybrid", "tiered"]
    write_amp: float
    read_amp: float
    reads: int = 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class SlotList(list[Slot]):
    """Slots, by level and key."""

    def to_dict(self) -> dict[str, Any]:
        return {"slots": [slot.to_dict() for slot in self]}

    def _repr_html_(self) -> str:
        return html.slots(self)
