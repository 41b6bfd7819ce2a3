"""Metrics: all there at open, true later."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import nori_lsm
from nori_lsm import Event
from nori_lsm.testing import SimDisk
from tests_support import SMALL, fill, wait_until


class Metric:
    def __init__(self, kind: str, buckets: tuple[float, ...] = ()) -> None:
        self.kind = kind
        self.buckets = buckets
        self.value = 0.0
        self.seen: list[float] = []

    def inc(self, amount: float) -> None:
        assert self.kind == "counter" and amount > 0
        self.value += amount

    def set(self, value: float) -> None:
        assert self.kind == "gauge"
        self.value = value

    def observe(self, value: float) -> None:
        assert self.kind == "histo" and value >= 0
        self.seen.append(value)


class Book:
    """A meter that keeps all it is told."""

    def __init__(self) -> None:
        self.metrics: dict[tuple[str, tuple[tuple[str, str], ...]], Metric] = {}
        self.events: list[Event] = []

    def add(self, name: str, labels: Mapping[str, str], metric: Metric) -> Metric:
        key = (name, tuple(sorted(labels.items())))
        assert key not in self.metrics, "created twice"
        self.metrics[key] = metric
        return metric

    def counter(self, name: str, labels: Mapping[str, str]) -> Any:
        return self.add(name, labels, Metric("counter"))

    def gauge(self, name: str, labels: Mapping[str, str]) -> Any:
        return self.add(name, labels, Metric("gauge"))

    def histo(self, name: str, buckets: tuple[float, ...], labels: Mapping[str, str]) -> Any:
        assert buckets == tuple(sorted(buckets))
        return self.add(name, labels, Metric("histo", buckets))

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def one(self, name: str, /, **labels: str) -> Metric:
        return self.metrics[name, tuple(sorted(labels.items()))]


def test_every_metric_is_created_at_open_and_named_by_the_conventions(path: Path) -> None:
    book = Book()
    with nori_lsm.open(path, meter=book) as db:
        before = set(book.metrics)
        fill(db, 100)
        db.flush()
        names = {name for name, _ in book.metrics}
    assert set(book.metrics) == before
    assert all(name.startswith("nori_") for name in names)
    assert names >= {
        "nori_wal_gc_latency_ms",
        "nori_wal_segments_deleted_total",
        "nori_wal_segment_count",
        "nori_write_amplification",
        "nori_read_amplification",
        "nori_space_amplification",
        "nori_compaction_bytes_in_total",
        "nori_compaction_bytes_out_total",
        "nori_l0_files",
        "nori_slot_k",
        "nori_slot_heat",
        "nori_slot_tombstone_density",
        "nori_pressure_score",
        "nori_pressure_zone",
        "nori_writes_delayed_total",
        "nori_get_latency_micros",
        "nori_put_latency_micros",
    }
    for (name, _), metric in book.metrics.items():
        assert name.endswith("_total") == (metric.kind == "counter"), name


def test_metrics_follow_the_engine_to_its_end(disk: SimDisk) -> None:
    book = Book()
    with nori_lsm.open("/db", env=disk, meter=book, **SMALL) as db:
        fill(db)
        db.flush()
        db.compact()
        for number in range(500):
            db.get(b"%08d" % number)
        stats = db.stats()
    assert book.one("nori_puts_total").value == stats.puts
    assert book.one("nori_gets_total").value == stats.gets
    assert book.one("nori_compaction_bytes_out_total").value == stats.compaction_bytes_written > 0
    assert book.one("nori_compaction_bytes_in_total").value == stats.compaction_bytes_read
    assert book.one("nori_write_amplification").value == pytest.approx(stats.write_amp, rel=0.01)
    assert book.one("nori_slot_k", level="1", of="max").value >= 1
    assert book.one("nori_pressure_zone").value in (0, 1, 2, 3)
    assert 64 <= len(book.one("nori_get_latency_micros").seen) <= 500
    assert len(book.one("nori_flush_latency_ms").seen) == book.one("nori_events_total", name="flush").value
    assert [event.number for event in book.events] == sorted(event.number for event in book.events)
    flushed = [event for event in book.events if event.name == "flush"]
    assert len(flushed) == book.one("nori_events_total", name="flush").value > 1


def test_metrics_follow_while_the_engine_is_open(path: Path) -> None:
    book = Book()
    with nori_lsm.open(path, meter=book) as db:
        db[b"a"] = b"1"
        wait_until(lambda: book.one("nori_puts_total").value == 1)


def test_a_meter_that_fails_at_open_leaves_nothing_open(path: Path) -> None:
    class Refusing(Book):
        def gauge(self, name: str, labels: Mapping[str, str]) -> Any:
            raise RuntimeError("no gauges")

    with pytest.raises(RuntimeError, match="no gauges"):
        nori_lsm.open(path, meter=Refusing())
    nori_lsm.open(path).close()


def test_a_meter_that_fails_later_stops_nobody(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    caught: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: caught.append(unraisable.exc_value))

    class Failing(Book):
        def emit(self, event: Event) -> None:
            raise RuntimeError(event.name)

    seen: list[str] = []
    with nori_lsm.open(path, meter=Failing()) as db:
        db.subscribe(lambda event: seen.append(event.name))
        db[b"a"] = b"1"
        db.flush()
    assert "flush" in seen and caught
    caught.clear()


