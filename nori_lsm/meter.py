"""An engine's numbers for a monitoring system, whichever: `Meter` is what the system has to offer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from nori_lsm import _core
from nori_lsm.events import Event
from nori_lsm.stats import Slot, Stats

if TYPE_CHECKING:
    from nori_lsm._core import Engine

__all__ = ["Meter", "Metrics"]

# At most so many observations of one kind in a turn: beyond them, a fair sample.
_MAX_OBSERVATIONS = 1000
_MILLISECONDS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0)
_ZONES = ("green", "yellow", "orange", "red")
_KINDS = (
    "flush compaction admission guard_move bandit_selection bandit_reward slot_heat pressure_zone wal_segment cache stall "
    "background_error"
).split()


class Meter(Protocol):
    """Vendor-neutral metrics, every one created at open."""

    def counter(self, name: str, labels: Mapping[str, str]) -> Any:
        """What it returns has inc(n)."""

    def gauge(self, name: str, labels: Mapping[str, str]) -> Any:
        """What it returns has set(x)."""

    def histo(self, name: str, buckets: tuple[float, ...], labels: Mapping[str, str]) -> Any:
        """What it returns has observe(x)."""

    def emit(self, event: Event) -> None: ...


# Counters, by the field of Stats they follow.
_COUNTERS = {
    "user_bytes_written": "nori_user_bytes_written_total",
    "wal_bytes_written": "nori_wal_bytes_written_total",
    "flush_bytes_written": "nori_flush_bytes_written_total",
    "compaction_bytes_read": "nori_compaction_bytes_in_total",
    "compaction_bytes_written": "nori_compaction_bytes_out_total",
    "manifest_bytes_written": "nori_manifest_bytes_written_total",
    "gets": "nori_gets_total",
    "puts": "nori_puts_total",
    "deletes": "nori_deletes_total",
    "scans": "nori_scans_total",
    "runs_probed": "nori_runs_probed_total",
    "blocks_read": "nori_blocks_read_total",
    "filter_negatives": "nori_filter_negatives_total",
    "filter_false_positives": "nori_filter_false_positives_total",
    "block_cache_hits": "nori_block_cache_hits_total",
    "block_cache_misses": "nori_block_cache_misses_total",
    "wal_segments_deleted": "nori_wal_segments_deleted_total",
    "writes_delayed": "nori_writes_delayed_total",
    "stall_micros": "nori_stall_micros_total",
}
_GAUGES = {
    "write_amp": "nori_write_amplification",
    "wal_write_amp": "nori_wal_write_amplification",
    "read_amp": "nori_read_amplification",
    "space_amp": "nori_space_amplification",
    "bytes_on_disk": "nori_bytes_on_disk",
    "live_bytes": "nori_live_bytes",
    "snapshot_pinned_bytes": "nori_snapshot_pinned_bytes",
    "l0_files": "nori_l0_files",
    "memtable_bytes": "nori_memtable_bytes",
    "immutable_memtables": "nori_immutable_memtables",
    "wal_segments": "nori_wal_segment_count",
    "pressure": "nori_pressure_score",
}
_LATENCIES = ("get", "put", "delete", "scan", "sync")
_SLOT_GAUGES: dict[str, Callable[[Slot], float]] = {
    "nori_slot_k": lambda slot: slot.k_max,
    "nori_slot_heat": lambda slot: slot.heat,
    "nori_slot_tombstone_density": lambda slot: slot.tombstone_density,
}


class Metrics:
    """All metrics of one engine. Slots come and go, so theirs are by level: the mean weighted by bytes, and the most."""

    def __init__(self, meter: Meter, max_levels: int) -> None:
        self._meter = meter
        self._counters = {field: meter.counter(name, {}) for field, name in _COUNTERS.items()}
        self._gauges = {field: meter.gauge(name, {}) for field, name in _GAUGES.items()}
        self._zone = meter.gauge("nori_pressure_zone", {})  # 0 green, 1 yellow, 2 orange, 3 red
        self._slots = {
            (name, level, of): meter.gauge(name, {"level": str(level), "of": of})
            for name in _SLOT_GAUGES
            for level in range(1, max_levels)
            for of in ("mean", "max")
        }
        self._bounds = _core.latency_bounds()
        self._latencies = {op: meter.histo(f"nori_{op}_latency_micros", self._bounds, {}) for op in _LATENCIES}
        self._flush_ms = meter.histo("nori_flush_latency_ms", _MILLISECONDS, {})
        self._compaction_ms = meter.histo("nori_compaction_latency_ms", _MILLISECONDS, {})
        self._gc_ms = meter.histo("nori_wal_gc_latency_ms", _MILLISECONDS, {})
        self._events = {name: meter.counter("nori_events_total", {"name": name}) for name in _KINDS}
        self._dropped = meter.counter("nori_events_dropped_total", {})
        self._last: Stats | None = None
        self._last_counts: dict[str, list[int]] = {}

    def update(self, engine: Engine) -> None:
        """From the counters of now."""
        stats: Stats = engine.stats()
        slots: list[Slot] = engine.slots()
        counts = engine._latency_counts()
        for field, counter in self._counters.items():
            risen = getattr(stats, field) - (getattr(self._last, field) if self._last else 0)
            if risen > 0:
                counter.inc(risen)
        for field, gauge in self._gauges.items():
            gauge.set(getattr(stats, field))
        self._zone.set(_ZONES.index(stats.zone))
        for name, value in _SLOT_GAUGES.items():
            self._update_slots(name, value, slots)
        for op, histogram in self._latencies.items():
            self._observe(histogram, counts[op], self._last_counts.get(op))
        self._last, self._last_counts = stats, counts

    def _update_slots(self, name: str, value: Callable[[Slot], float], slots: list[Slot]) -> None:
        levels = {level for _, level, _ in self._slots}
        for level in levels:
            mine = [slot for slot in slots if slot.level == level]
            total = sum(slot.bytes for slot in mine)
            weighed = sum(value(slot) * slot.bytes for slot in mine)
            self._slots[name, level, "mean"].set(weighed / total if total else 0.0)
            self._slots[name, level, "max"].set(max(map(value, mine), default=0.0))

    def _observe(self, histogram: Any, counts: list[int], former: list[int] | None) -> None:
        risen = [now - (former[place] if former else 0) for place, now in enumerate(counts)]
        share = min(1.0, _MAX_OBSERVATIONS / max(1, sum(risen)))
        for place, count in enumerate(risen):
            low = self._bounds[place - 1] if place else 0.0
            high = self._bounds[place] if place < len(self._bounds) else 2 * low
            for _ in range(round(count * share)):
                histogram.observe((low + high) / 2)

    def dropped(self, count: int) -> None:
        self._dropped.inc(count)

    def emit(self, event: Event) -> None:
        self._events[event.name].inc(1)
        if event.name == "flush":
            self._flush_ms.observe(event.fields["micros"] / 1000)
        elif event.name in ("compaction", "admission"):
            self._compaction_ms.observe(event.fields["micros"] / 1000)
        elif event.name == "wal_segment" and event.fields["action"] == "deleted":
            self._gc_ms.observe(event.fields["micros"] / 1000)
        self._meter.emit(event)
